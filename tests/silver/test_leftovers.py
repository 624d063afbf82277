"""Invariant: a Silver worker leaves no file behind, however it ends."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from deploy.embedded.broker import InMemoryBroker
from tests.silver.group.test_absent_broker import worker
from tests.silver.stack import wait_until


# What SIGKILL does not leave, a worker that ends in order does not leave either.
@pytest.mark.parametrize("end", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.nightly)])
def test_no_folder_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: signal.Signals) -> None:
    """Faust makes folders for tables, in the current folder unless it is told another one."""
    home, temporary, logs = (tmp_path / name for name in ("home", "temporary", "logs"))
    for folder in (home, temporary, logs):
        folder.mkdir()
    monkeypatch.chdir(home)
    for name in ("TMPDIR", "HOME"):
        monkeypatch.setenv(name, str(temporary))
    broker = InMemoryBroker({"market.crypto.trades.bronze": 2, "market.crypto.trades.dlq": 1})
    try:
        with worker(logs, broker.bootstrap_servers) as running:
            wait_until(lambda: "partitions assigned" in (logs / "worker.log").read_text())
            os.kill(running.pid, end)
            running.wait(30)
    finally:
        broker.close()
    assert [*home.rglob("*"), *temporary.rglob("*")] == []
