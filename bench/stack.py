"""A new embedded stack for a measurement, and the description of a running pipeline."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import clickhouse_connect
from clickhouse_driver import Client

from config.connections import clickhouse_http, clickhouse_native
from config.settings import Settings
from deploy.embedded import control
from deploy.embedded.layout import StackState

_SQL = Path(__file__).with_name("sql")


@dataclass(frozen=True, slots=True)
class Target:
    """A running pipeline, ours or another one on the same broker and node.

    Attributes:
        environment: `MEDALLION_…` variables with which a process reaches its broker and node.
        pids: its processes by name.
        logs: the folder of their logs.
        look: the query for `bench.pipeline.visibility.Watcher`.
        counted: the table that it reads.
        partitions: how the names of the partitions begin that it reads; "": all.
        journeys: the query for `bench.pipeline.journeys`.
    """

    environment: Mapping[str, str]
    pids: Mapping[str, int]
    logs: Path
    look: str
    counted: str
    partitions: str
    journeys: str

    @property
    def settings(self) -> Settings:
        """The settings with which the pipeline is reached."""
        return Settings.from_environment(self.environment)

    def folder(self) -> Path:
        """The folder of the parts of the table `counted`."""
        client = native_client(self.settings)
        ((folders,),) = client.execute(_text("folder.sql"), {"table": self.counted})
        client.disconnect()
        return Path(folders[0])


@contextmanager
def fresh_stack(*, schedules: bool = False) -> Iterator[StackState]:
    """Start an empty stack in a temporary folder. At the end it is stopped and the folder removed.

    `schedules`: run the schedules, as `medallion up` does by default. Their check at the start would disturb most
    measurements. The stack gets the caller's `MEDALLION_…` variables, so a setting can be tried.

    Raises:
        deploy.embedded.layout.StackError: the stack does not start.
    """
    with tempfile.TemporaryDirectory(prefix="medallion-bench-", ignore_cleanup_errors=True) as folder:
        state = control.start(Path(folder) / "data", 0, 0, 1, lambda _state: None, schedules=schedules)
        try:
            yield state
        finally:
            control.stop(state.data_dir)


@contextmanager
def our_target(*, schedules: bool = False) -> Iterator[Target]:
    """A new stack as a target. `schedules`: as in `fresh_stack`.

    Raises:
        deploy.embedded.layout.StackError: the stack does not start.
    """
    with fresh_stack(schedules=schedules) as state:
        yield Target(
            state.environment,
            pids_of(state),
            state.data_dir / "logs",
            look=_text("visible.sql"),
            counted="gold_ohlcv_state",
            partitions="60-",
            journeys=_text("journeys.sql"),
        )


def settings_of(state: StackState) -> Settings:
    """The settings with which this stack is reached."""
    return Settings.from_environment(state.environment)


def pids_of(state: StackState) -> dict[str, int]:
    """The stack's processes by name."""
    services = {service.name: service.pid for service in state.services if service.pid is not None}
    return {**services, "supervisor": state.supervisor_pid}


def native_client(settings: Settings) -> Any:
    """A client of the native protocol."""
    return Client(**clickhouse_native(settings), database=settings.clickhouse_database)


def http_client(settings: Settings) -> Any:
    """A client of the HTTP interface."""
    return clickhouse_connect.get_client(**clickhouse_http(settings))


def _text(name: str) -> str:
    return (_SQL / name).read_text(encoding="utf-8")
