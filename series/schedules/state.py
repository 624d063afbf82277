"""The state of each schedule, as a file in the stack's state folder, and the lock that keeps its runs apart."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from config.whole_file import write_whole
from series.errors import SeriesError

# The pause before a failed run is repeated.
RETRY_SECONDS = 300


class ScheduleBusyError(SeriesError):
    """Another run of the schedule is under way."""


class ScheduleState(msgspec.Struct, frozen=True):
    """The last run of a schedule. Times are UTC.

    `ended_at`: None while it runs, or if it was killed. `succeeded_at`: start of the newest good run. `rows`: received
    rows, of which `rejected` are dead letters. `error`: "", or what is missing.

    A quality check also has `checked_until`: by market, where the next check begins; `verdicts`: windows of the newest
    good run, by `equal` or the cause of the difference; `anomalies`: their number, by kind.
    """

    schedule: str
    started_at: datetime
    ended_at: datetime | None = None
    succeeded_at: datetime | None = None
    rows: int = 0
    rejected: int = 0
    error: str = ""
    checked_until: dict[str, datetime] = {}
    verdicts: dict[str, int] = {}
    anomalies: dict[str, int] = {}


def due_at(state: ScheduleState | None, interval: timedelta, now: datetime) -> datetime:
    """When a schedule runs next: `interval` after the start of a good run, but not before `now`; else `now`."""
    if state is None or state.ended_at is None or state.error:
        return now
    return max(state.started_at + interval, now)


class ScheduleStates:
    """The states in one folder."""

    def __init__(self, folder: Path) -> None:
        """`folder`: the state folder of the stack. It is created by the first write."""
        self._folder = folder / "schedules"

    def all(self) -> list[ScheduleState]:
        """The state of every schedule that ever ran, by name."""
        found = (self.read(path.stem) for path in sorted(self._folder.glob("*.json")))
        return [state for state in found if state is not None]

    def read(self, name: str) -> ScheduleState | None:
        """The state of a schedule; None: it never ran, or the file is damaged."""
        try:
            return msgspec.json.decode(self._path(name, "json").read_bytes(), type=ScheduleState)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    def write(self, state: ScheduleState) -> None:
        """Replace the state of a schedule."""
        write_whole(self._path(state.schedule, "json"), msgspec.json.encode(state))

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Hold the lock of a schedule. The kernel releases it however the process ends.

        Raises:
            ScheduleBusyError: another run holds it.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._path(name, "lock"), os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError as error:
            raise ScheduleBusyError(
                f"{name} is running: wait for its end, `medallion schedule list` shows it"
            ) from error
        finally:
            os.close(descriptor)

    def is_running(self, name: str) -> bool:
        """Whether a run is under way, in any process of this machine."""
        if not self._path(name, "lock").exists():
            return False
        try:
            with self.running(name):
                return False
        except ScheduleBusyError:
            return True

    def is_paused(self, name: str) -> bool:
        """Whether `pause` was called last."""
        return self._path(name, "paused").exists()

    def pause(self, name: str) -> None:
        """Make the service skip a schedule. A run under way continues."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path(name, "paused").touch()

    def resume(self, name: str) -> None:
        """Undo `pause`."""
        self._path(name, "paused").unlink(missing_ok=True)

    def _path(self, name: str, kind: str) -> Path:
        return self._folder / f"{name}.{kind}"
