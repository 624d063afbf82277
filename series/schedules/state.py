"""What became of each schedule's last run, as files of the stack's state folder; a lock keeps runs apart."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from series.errors import SeriesError

# After which a failed run is repeated.
RETRY_SECONDS = 300


class ScheduleBusyError(SeriesError):
    """Another process runs the schedule."""


class ScheduleState(msgspec.Struct, frozen=True):
    """The last run of a schedule. Times are UTC.

    `ended_at`: None while it runs, or if it was killed. `succeeded_at`: start of the newest good run. `rows`: received,
    of which `rejected` are dead letters. `error`: "", or what is missing.
    Of a quality check: `checked_until`, by market the time up to which nothing is left to check; `verdicts`, windows of
    the newest good run, by `equal` or the cause of the difference; `anomalies`, what it found by kind.
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
    """When a schedule runs next: `interval` after a good run began; now if that has passed, or the run was not good."""
    if state is None or state.ended_at is None or state.error:
        return now
    return max(state.started_at + interval, now)


class ScheduleStates:
    """The states in one folder."""

    def __init__(self, folder: Path) -> None:
        """`folder`: that of the stack. Nothing is written yet."""
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
        draft = self._path(state.schedule, "new")
        draft.write_bytes(msgspec.json.encode(state))
        draft.replace(self._path(state.schedule, "json"))

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Keep other runs of a schedule away; the kernel ends that however the process ends.

        Raises:
            ScheduleBusyError: one is under way.
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
        """Let the service leave a schedule out; a run under way goes on."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._path(name, "paused").touch()

    def resume(self, name: str) -> None:
        """Undo `pause`."""
        self._path(name, "paused").unlink(missing_ok=True)

    def _path(self, name: str, kind: str) -> Path:
        return self._folder / f"{name}.{kind}"
