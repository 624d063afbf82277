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
# The signal that this process took for Ctrl-C. A process has one set of handlers, so this is one a process, too.
_received = [signal.SIGINT]


def name() -> str:
    """What a person calls the signal behind a KeyboardInterrupt."""
    return _NAMES[_received[-1]]


def exit_code() -> int:
    """The exit code after a KeyboardInterrupt, as shells have it: 128 and the number of the signal."""
    return 128 + _received[-1]


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


def take_for_ctrl_c() -> None:
    """Answer the first SIGTERM or SIGHUP as SIGINT is answered then: by KeyboardInterrupt, by asyncio, by a server.

    Later ones do nothing: both may come twice, as from `timeout` or a shell.
    """
    terminals = [number for number in _STREAMS if os.isatty(number)]
    own = [number for number in stop_signals() if number != signal.SIGINT]

    def stop(number: int, frame: FrameType | None) -> None:
        _received.append(signal.Signals(number))
        for one in own:
            # A handler and not SIG_IGN, which processes that are started later would inherit.
            signal.signal(one, _do_nothing)
        _leave(terminals)
        answer = signal.getsignal(signal.SIGINT)
        if not callable(answer):  # a shell's background process ignores SIGINT
            raise KeyboardInterrupt
        answer(signal.SIGINT, frame)

    for number in own:
        signal.signal(number, stop)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    pass


def _leave(terminals: list[int]) -> None:
    """Send to nowhere what a gone terminal would be given: writing to it would fail, and end the cleaning up."""
    for number in terminals:
        if not os.isatty(number):
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, number)
            os.close(nothing)
