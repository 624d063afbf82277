"""Long work of a command: its progress bar, and what is said where Ctrl-C or another signal ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from cli.common.context import err
from config.errors import MedallionError
from config.process import stopping


class StoppedError(MedallionError):
    """A signal ended the command; the message says what was done, what is left and how to go on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


@contextmanager
def explained(say: Callable[[], str]) -> Iterator[None]:
    """Within it Ctrl-C, SIGTERM and SIGHUP end the command with the text of `say`, which is called when all cleaning up
    is over, or when a second one has ended that.

    Raises:
        StoppedError: one of the signals came.
    """
    try:
        yield
    except KeyboardInterrupt as error:
        notes = getattr(error, "__notes__", [])  # what was lost on the way out: a publisher adds it
        when = " while it was cleaning up" if stopping.is_second(error) else ""
        by = f"Stopped by {stopping.name()}{when}."
        raise StoppedError(" ".join([by, say(), *notes]), stopping.exit_code()) from error


@dataclass
class Work:
    """The progress of a command. A command calls `show` as often as it likes."""

    _progress: Progress
    _task: TaskID
    _title: str
    _done: str = "nothing yet"
    _left: str = "all of it"

    def show(self, done: str, left: str, *, doing: str = "", share: float | None = None) -> None:
        """Show what is done, left and under way; `share`: the finished part, 0 to 1, None if it is unknown."""
        self._done, self._left = done, left
        description = f"{self._title}: {doing}" if doing else self._title
        total = None if share is None else 1.0
        self._progress.update(self._task, description=description, completed=share or 0.0, total=total, done=done)

    @property
    def summary(self) -> str:
        """What is done and what is left, for the message after a signal."""
        return f"Done: {self._done}. Left: {self._left}."


@contextmanager
def working(title: str, go_on: str, *, quiet: bool = False) -> Iterator[Work]:
    """Show the progress of long work on standard error, if that is a terminal.

    Args:
        title: what is done, as `Replaying`.
        go_on: how to continue after Ctrl-C or another signal, a whole sentence.
        quiet: show nothing: another program reads the answer (`--json`).

    Raises:
        StoppedError: a signal came; its message has what was shown last.
    """
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        TextColumn("{task.fields[done]}", markup=False),
        TimeElapsedColumn(),
        console=err,
        transient=True,
        disable=quiet or not err.is_terminal,
    )
    work = Work(progress, progress.add_task(title, total=None, done=""), title)
    with explained(lambda: f"{work.summary} {go_on}"), progress:
        yield work
