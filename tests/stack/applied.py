"""A data folder with every migration and no row, made once for all tests of a run, each of which starts on a copy.

To make the objects of a new database costs twice as much as to load them. `test_any_metadata.py` starts from nothing.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from clickhouse_driver import Client
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from config.connections import clickhouse_native
from config.settings import Settings
from ddl.runner import apply
from deploy.embedded.broker import InMemoryBroker
from deploy.embedded.layout import DataDir
from deploy.embedded.ports import free_ports
from deploy.embedded.services import Ports, Service, clickhouse_service, stack_environment


def applied_folder(factory: pytest.TempPathFactory) -> Path:
    """The folder to copy. The first process that asks makes it."""
    base = factory.getbasetemp()
    # The processes of xdist have a folder each, in one that they share.
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, unfinished = shared / "applied", shared / "applied.unfinished"
    with (shared / "applied.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _make(unfinished)
            unfinished.rename(folder)
    return folder


def _make(folder: Path) -> None:
    """As the supervisor does it. What every stack makes itself (passwords, logs, its state) is not kept."""
    directory, broker = DataDir(folder), InMemoryBroker()
    directory.create()
    native, http = free_ports(2)
    ports = Ports(native, http, metrics=(0,))
    environment = stack_environment(directory, ports, "memory", broker.bootstrap_servers, {})
    node = clickhouse_service(directory, ports, environment)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDALLION_")}
    with subprocess.Popen(node.argv, env={**kept, **node.environment, "TZ": "UTC"}) as process:
        try:
            _wait_for(node, process)
            settings = Settings.from_environment(environment)
            apply(Client(**clickhouse_native(settings)), settings)
        finally:
            process.terminate()
    broker.close()
    for made in (*folder.glob("*.password"), directory.logs, directory.warehouse):
        shutil.rmtree(made) if made.is_dir() else made.unlink()
    (folder / "supervisor.lock").touch()  # tells `up` that the folder is its own


@retry(retry=retry_if_result(bool), stop=stop_after_delay(60), wait=wait_fixed(0.1))
def _wait_for(node: Service, process: subprocess.Popen[bytes]) -> str:
    assert process.poll() is None, "the node ended"
    return asyncio.run(node.unready())
