"""Invariant: a process does not load the libraries that cost it a tenth of a second and that it does not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

# Each module is imported after those before it, so a library that one of them needs is not named after it.
LEFT_OUT = """
import importlib, sys
from config.process.optional_imports import PANDAS, do_without
do_without(PANDAS)
for module, libraries in (
    ("cli.main", {"requests", "structlog", "prometheus_client"}),
    ("cli.stack.commands", {"requests", "structlog", "prometheus_client", "aiohttp", "pyarrow"}),
    ("deploy.embedded.supervisor", {"requests", "prometheus_client", "aiohttp", "pyarrow"}),
    ("cli.cold.offload", {"aiohttp", "polars"}),
    ("offload.service", {"polars"}),
):
    importlib.import_module(module)
    print(module, *sorted(libraries & {*sys.modules}))
"""


def test_no_process_loads_what_it_does_not_use(subtests: pytest.Subtests) -> None:
    done = subprocess.run([sys.executable, "-c", LEFT_OUT], capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        module, *loaded = line.split()
        with subtests.test(module=module):
            assert loaded == []
