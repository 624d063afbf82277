"""A fresh embedded stack for a measurement, and its processes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import clickhouse_connect
from clickhouse_driver import Client

from config.connections import clickhouse_http, clickhouse_native
from config.settings import Settings
from deploy.embedded import control
from deploy.embedded.layout import StackState


@contextmanager
def fresh_stack() -> Iterator[StackState]:
    """Start an empty stack in a temporary folder; stop it and remove the folder afterwards.

    The caller's `MEDALLION_…` variables reach it, so that a setting can be tried out.

    Raises:
        deploy.embedded.layout.StackError: it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="medallion-bench-", ignore_cleanup_errors=True) as folder:
        state = control.start(Path(folder) / "data", 0, 0, 1, lambda _state: None)
        try:
            yield state
        finally:
            control.stop(state.data_dir)


def settings_of(state: StackState) -> Settings:
    """The settings that reach this stack."""
    return Settings.from_environment(state.environment)


def pids_of(state: StackState) -> dict[str, int]:
    """Its processes by name."""
    services = {service.name: service.pid for service in state.services if service.pid is not None}
    return {**services, "supervisor": state.supervisor_pid}


def native_client(settings: Settings) -> Any:
    """A connection of the native protocol."""
    return Client(**clickhouse_native(settings), database=settings.clickhouse_database)


def http_client(settings: Settings) -> Any:
    """A connection of the HTTP interface."""
    return clickhouse_connect.get_client(**clickhouse_http(settings))
