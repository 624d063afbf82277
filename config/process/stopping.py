"""SIGTERM, and SIGHUP of a closed terminal, stop a command as Ctrl-C does: it cleans up, and says what it did."""

from __future__ import annotations

import os
import signal
from types import FrameType

_STREAMS = (0, 1, 2)
_NAMES = {
    signal.SIGINT: "Ctrl-C",
    signal.SIGTERM: "SIGTERM",
    signal.SIGHUP: "SIGHUP, as the terminal was closed",
}


class Stop(KeyboardInterrupt):
    """SIGTERM or SIGHUP. Whatever is prepared for Ctrl-C is prepared for it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def name_of(stop: KeyboardInterrupt) -> str:
    """What a person calls the signal that raised it."""
    return _NAMES[_number(stop)]


def exit_code(stop: KeyboardInterrupt) -> int:
    """The exit code of a program that this ended, as shells have it: 128 and the signal's number."""
    return 128 + _number(stop)


def _number(stop: KeyboardInterrupt) -> signal.Signals:
    return signal.Signals(stop.number) if isinstance(stop, Stop) else signal.SIGINT


def is_second(stop: KeyboardInterrupt) -> bool:
    """Whether it was raised while the process was cleaning up after an earlier one."""
    earlier = stop.__context__
    while earlier is not None:
        if isinstance(earlier, KeyboardInterrupt):
            return True
        earlier = earlier.__context__
    return False


def stop_signals() -> tuple[signal.Signals, ...]:
    """The signals that stop a process. SIGHUP is none where the caller ignores it, as `nohup` does."""
    hang_up = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGINT, signal.SIGTERM, *hang_up)


def raise_on_signals() -> None:
    """Raise `Stop` in the main thread at SIGTERM or SIGHUP, once: both may come twice, as from `timeout` or a shell."""
    terminals = [number for number in _STREAMS if os.isatty(number)]
    own = [number for number in stop_signals() if number != signal.SIGINT]

    def stop(number: int, _frame: FrameType | None) -> None:
        for one in own:
            signal.signal(one, _ignore)
        _leave(terminals)
        raise Stop(number)

    for number in own:
        signal.signal(number, stop)


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """A handler and not SIG_IGN, which processes that are started later would inherit."""


def _leave(terminals: list[int]) -> None:
    """Send to nowhere what a gone terminal would be given: writing to it would fail, and end the cleaning up."""
    for number in terminals:
        if not os.isatty(number):
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, number)
            os.close(nothing)
