"""What a process does without."""

from __future__ import annotations

import subprocess
import sys


def test_pyarrow_works_without_pandas() -> None:
    """It takes the refusal for a package that is not installed."""
    code = (
        "import sys\n"
        "from config.process.optional_imports import PANDAS, do_without\n"
        "do_without(PANDAS)\n"
        "import pyarrow\n"
        "print(pyarrow.array(['a', None]).to_pylist(), 'pandas' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "['a', None] False\n"


def test_kafka_messages_become_rows_without_pandas() -> None:
    """The node's source imports what it needs of PyArrow by itself: pandas would otherwise have brought it along."""
    code = (
        "from config.process.optional_imports import PANDAS, do_without\n"
        "do_without(PANDAS)\n"
        "from confluent_kafka import Message\n"
        "from deploy.embedded.clickhouse.kafka.blocks import block\n"
        "message = Message(topic='raw', partition=0, offset=7, key=b'k', value=b'v', timestamp=(1, 1500))\n"
        "print(block('raw_data', [message]).rows.num_rows)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "1\n"


def test_what_was_left_out_can_be_asked_for_later() -> None:
    code = (
        "import importlib.util\n"
        "from config.process.optional_imports import PANDAS, do_with, do_without\n"
        "do_without(PANDAS)\n"
        "do_with(PANDAS)\n"
        "print(importlib.util.find_spec(PANDAS) is not None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "True\n"
