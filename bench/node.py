"""A ClickHouse node for one measurement, with the tables of every migration and without a broker."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from pydantic import SecretStr

from bench.waiting import answers
from config.settings import Settings
from ddl.plan import without_superseded
from ddl.render import render
from ddl.statements import ObjectKind
from deploy.embedded.ports import LOOPBACK, free_ports
from offload.clickhouse.client import ClickHouseHttp

_PASSWORD_VARIABLE = "MEDALLION_CLICKHOUSE_PASSWORD"
_START_S = 120.0


class NodeError(RuntimeError):
    """The node did not start."""


@dataclass(frozen=True, slots=True)
class Node:
    """The settings with which the node is reached, with an empty folder as warehouse, and the node's process."""

    settings: Settings
    process: psutil.Process


@contextmanager
def node() -> Iterator[Node]:
    """Start a node, and make its tables.

    Raises:
        NodeError: the node did not start.
    """
    with tempfile.TemporaryDirectory(prefix="medallion-bench-") as name:
        folder = Path(name)
        native, http = free_ports(2)
        command = [sys.executable, "-m", "deploy.embedded.clickhouse", "--path", str(folder / "store")]
        command += ["--native-port", str(native), "--http-port", str(http), "--password-env", _PASSWORD_VARIABLE]
        command += ["--readable", str(folder / "warehouse")]
        password = secrets.token_urlsafe()
        environment = {**os.environ, _PASSWORD_VARIABLE: password}
        with (
            (folder / "log").open("wb") as log,
            subprocess.Popen(command, stdout=log, stderr=log, env=environment) as process,
        ):
            try:
                if not answers(f"http://{LOOPBACK}:{http}/ping", process, _START_S):
                    said = (folder / "log").read_text(encoding="utf-8", errors="replace")[-500:]
                    raise NodeError(f"The ClickHouse node did not start: {said}")
                settings = Settings(
                    clickhouse_host=LOOPBACK,
                    clickhouse_port=native,
                    clickhouse_http_port=http,
                    clickhouse_password=SecretStr(password),
                    iceberg_catalog_uri=f"sqlite:///{folder}/catalog.db",
                    iceberg_warehouse=(folder / "warehouse").as_uri(),
                )
                _make_tables(settings)
                yield Node(settings, psutil.Process(process.pid))
            finally:
                process.terminate()
                process.wait()


def _make_tables(settings: Settings) -> None:
    store = ClickHouseHttp(settings.model_copy(update={"clickhouse_database": "system"}))
    store.command(f"CREATE DATABASE {settings.clickhouse_database}", {})
    store.close()
    store = ClickHouseHttp(settings)
    statements = without_superseded(render(settings), ())
    # There is no broker here, so objects that read or write one are left out.
    kafka = {statement.object for statement in statements if statement.kind is ObjectKind.KAFKA_TABLE}
    for statement in statements:
        if statement.object not in kafka and not any(f".{name}" in statement.sql for name in kafka):
            store.command(statement.sql, {})
    store.close()
