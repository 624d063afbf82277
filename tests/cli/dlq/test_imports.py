"""`medallion dlq stats|list` answer without loading the libraries that only validating and accepting need."""

from __future__ import annotations

import os
import subprocess
import sys

from deploy.embedded.ports import free_ports

COMMANDS = """
import sys
from typer.testing import CliRunner
from config.process.optional_imports import PANDAS, do_without
do_without(PANDAS)
from cli.main import app
for command in ("stats", "list"):
    done = CliRunner().invoke(app, ["dlq", command])
    assert "does not answer" in str(done.exception), done.exception
print(*{"polars", "pyiceberg"} & {*sys.modules})
"""


def test_stats_and_list_need_neither_polars_nor_iceberg() -> None:
    (nobody,) = free_ports(1)
    server = {"MEDALLION_CLICKHOUSE_HOST": "127.0.0.1", "MEDALLION_CLICKHOUSE_HTTP_PORT": str(nobody)}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS], env={**os.environ, **server}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "\n"), done.stdout + done.stderr
