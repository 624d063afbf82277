"""The folder of an embedded stack, and the state file by which commands find the stack."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, ValidationError

from config.errors import MedallionError
from config.places import nearest
from ddl.quoting import unreadable
from deploy.embedded import ownership

LOCK_FILE = "supervisor.lock"
# Partitions of a topic, as in deploy/compose/redpanda/create-topics.sh. The in-memory broker always has this number.
PARTITIONS = 4
BrokerKind = Literal["memory", "kafka"]


def data_dir_option(path: Path) -> str:
    """The option that names a data folder, as a shell takes it."""
    return f"--data-dir {shlex.quote(str(path))}"


class StackError(MedallionError):
    """The embedded stack cannot do this; the message says what to do next."""


class ServiceState(BaseModel):
    """One process of the stack as its supervisor last saw it.

    `metrics_url`: "" if it has no metrics. `ready_url`: where it says whether it is ready; "" if it has no such place.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    pid: int | None
    state: Literal["starting", "healthy", "unready", "restarting", "stopped", "failed"]
    restarts: int = 0
    detail: str = ""
    metrics_url: str = ""
    ready_url: str = ""


class StackState(BaseModel):
    """The published state of a stack: its processes, and the settings (`environment`) with which they are reached."""

    model_config = ConfigDict(extra="forbid")

    data_dir: Path
    supervisor_pid: int
    started_at: datetime
    state: Literal["starting", "healthy", "degraded", "stopping", "stopped", "failed"]
    detail: str = ""
    broker: BrokerKind = "memory"
    environment: dict[str, str]
    services: list[ServiceState]


@dataclass(frozen=True)
class DataDir:
    """The folder of one embedded stack: ClickHouse's store, the warehouse, logs and state."""

    path: Path

    @property
    def clickhouse(self) -> Path:
        """The engine's store."""
        return self.path / "clickhouse"

    @property
    def kafka(self) -> Path:
        """The store of Apache Kafka, where that is the broker."""
        return self.path / "kafka"

    @property
    def warehouse(self) -> Path:
        """The Iceberg warehouse."""
        return self.path / "warehouse"

    @property
    def warehouse_uri(self) -> str:
        """The warehouse's URL for pyiceberg, which takes the path without percent-encoding."""
        return f"file://{self.warehouse}"

    @property
    def warehouses(self) -> list[Path]:
        """The warehouse, and the folder beside it that version 0.1 used, if there is one.

        Version 0.1 percent-encoded the path, and pyiceberg did not decode it: the cold tables of `a b` stay in `a%20b`.
        """
        earlier = Path(self.warehouse.as_uri().removeprefix("file://"))
        return [self.warehouse, *([earlier] if earlier != self.warehouse and earlier.exists() else [])]

    @property
    def catalog_uri(self) -> str:
        """The SQLite catalog beside the warehouse."""
        return f"sqlite:///{quote(str(self.path / 'catalog.db'))}"

    @property
    def logs(self) -> Path:
        """The folder of the log files, one for each process."""
        return self.path / "logs"

    @property
    def broker_state(self) -> Path:
        """Where the broker process writes its address."""
        return self.path / "broker.address"

    @property
    def stack_file(self) -> Path:
        """The state file."""
        return self.path / "stack.json"

    @property
    def password_file(self) -> Path:
        """The password of ClickHouse's user `default`, which every command and service uses."""
        return self.path / "clickhouse.password"

    @property
    def analyst_password_file(self) -> Path:
        """The password of ClickHouse's user `analyst`, who only reads."""
        return self.path / "analyst.password"

    @property
    def is_ours(self) -> bool:
        """Whether it is a stack's folder, also of one whose first start did not end."""
        return (self.path / LOCK_FILE).exists()

    def check(self) -> None:
        """Raise what `create` would raise. Changes nothing, and the folder need not exist.

        Raises:
            StackError: the folder cannot be made or written, or its path has characters that ClickHouse or a URL reads
                as something else.
            OwnershipError: the folder belongs to somebody else, holds other files, or is a link.
            OSError: the folder cannot be read.
        """
        if found := unreadable(str(self.path)):
            raise StackError(
                f"The data folder {self.path} has {', '.join(map(repr, found))} in its path, which "
                "ClickHouse or a URL takes for something else: choose another one with --data-dir."
            )
        place = nearest(self.path)
        if not (place.is_dir() and os.access(place, os.R_OK | os.W_OK | os.X_OK)):
            raise StackError(
                f"Cannot write to the data folder {self.path}, as {place} refuses it. "
                "Choose another one with --data-dir, or change its owner."
            )
        ownership.check(self.path, is_ours=self.is_ours)

    def create(self) -> None:
        """Make the folders, readable by their owner only, and the passwords that are missing.

        Raises:
            StackError: as `check`.
            OwnershipError: as `check`.
        """
        try:
            self.check()
            ownership.take(self.path, is_ours=self.is_ours)
            if not self.is_ours:
                (self.path / LOCK_FILE).touch(mode=0o600)
            for folder in (self.clickhouse, *self.warehouses, self.logs, self.kafka):
                if folder.is_symlink() or folder != self.kafka:
                    ownership.take(folder, is_ours=True)
            for file in (self.password_file, self.analyst_password_file):
                ownership.make_secret(file)
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise StackError(
                f"Cannot write to the data folder {self.path}: {error.strerror}. "
                "Choose another one with --data-dir, or change its owner."
            ) from error

    @contextlib.contextmanager
    def lock(self) -> Iterator[int]:
        """Lock the folder for one supervisor. The kernel releases the lock however the process ends.

        Yields the descriptor: a child process that inherits it keeps the lock when this process gives it up.

        Raises:
            StackError: another supervisor holds it.
        """
        descriptor = os.open(self.path / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise StackError(
                f"A stack is already running on {self.path}. "
                f"See it with `medallion status {data_dir_option(self.path)}`, "
                f"stop it with `medallion down {data_dir_option(self.path)}`."
            ) from error
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def locked(self) -> bool:
        """Whether a supervisor holds the folder now."""
        if not self.is_ours:
            return False
        try:
            with self.lock():
                return False
        except StackError:
            return True

    def read(self) -> StackState | None:
        """The last published state, or None before the first `up`.

        Raises:
            StackError: the file is damaged.
        """
        try:
            return StackState.model_validate_json(self.stack_file.read_bytes())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise StackError(
                f"{self.stack_file} is damaged ({error.error_count()} faults): remove it and run `medallion up` again."
            ) from error

    def write(self, state: StackState) -> None:
        """Publish the state in one atomic step. Only the owner can read the file."""
        descriptor, name = tempfile.mkstemp(dir=self.path, prefix=".stack-")
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(state.model_dump_json(indent=1))
            Path(name).replace(self.stack_file)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
