"""The real Kafka engine (chdb-core 26.1.0, an environment of its own) for comparison with the stand-in."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_PYTHON = _ROOT / ".venv-conformance" / "bin" / "python"


def real_engine(run: list[str], read: str | None = None, rows: int = 0, feed: str | None = None) -> list[Any]:
    """Run statements on the real engine; the rows of `read`, repeated (after `feed`) until there are `rows`."""
    if not _PYTHON.exists():
        if os.environ.get("MEDALLION_SKIP_CONFORMANCE") == "1":
            pytest.skip("MEDALLION_SKIP_CONFORMANCE=1 and there is no .venv-conformance")
        pytest.fail(f"{_PYTHON} is missing: `make test` makes it; MEDALLION_SKIP_CONFORMANCE=1 skips these tests")
    answer = subprocess.run(
        [_PYTHON, Path(__file__).with_name("real_engine.py")],
        input=json.dumps({"run": run, "feed": feed, "read": read, "rows": rows}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "TZ": "UTC"},
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    found: list[Any] = json.loads(answer.stdout)
    return found
