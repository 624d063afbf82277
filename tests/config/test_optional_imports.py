"""What a process does without."""

from __future__ import annotations

import subprocess
import sys


def test_pyarrow_works_without_pandas() -> None:
    """It takes the refusal for a package that is not installed."""
    code = (
        "import sys\n"
        "from config.optional_imports import PANDAS, do_without\n"
        "do_without(PANDAS)\n"
        "import pyarrow\n"
        "print(pyarrow.array(['a', None]).to_pylist(), 'pandas' in sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "['a', None] False\n"
