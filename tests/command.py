"""`medallion …` as a process of its own without a second of imports each time: a process that has them forks itself.

The child's environment, standard streams and exit code are those of a process that was started; one that a test starts
and does not wait for, or kills, it starts itself.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from config.process.optional_imports import PANDAS, do_without

# What the commands of these tests import, none of which starts a thread.
IMPORTED = (
    "cli.main",
    "cli.common.context",
    "cli.common.lag",
    "clickhouse_connect",
    "clickhouse_driver",
    "confluent_kafka",
    "offload.run",
    # The commands that are run most. Those that import Polars are not among them: its threads would not be the child's.
    "cli.stack.commands",
    "cli.stack.status",
    "cli.messages.query",
    "cli.messages.feed",
    "cli.messages.backfill",
    "cli.dlq.commands",
    "cli.cold.offload",
)
_ROOT = Path(__file__).resolve().parents[1]


class _Forker:
    """The process that forks; it ends with the one that started it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.command"]
        # The console takes its width when it is imported.
        environment = {**os.environ, "COLUMNS": "200"}
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, cwd=_ROOT, env=environment, text=True, **pipes)

    def run(self, asked: Mapping[str, object]) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


_forkers: list[_Forker] = []


def run(arguments: Sequence[str], environment: Mapping[str, str], seconds: float) -> subprocess.CompletedProcess[str]:
    """`medallion` with these arguments, with this environment and no other.

    Raises:
        subprocess.TimeoutExpired: it was killed after so many seconds.
    """
    if not _forkers:
        _forkers.append(_Forker())
    with tempfile.TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        asked = {"arguments": arguments, "environment": environment, "out": str(out), "err": str(err)}
        code = _forkers[0].run({**asked, "seconds": seconds, "folder": str(Path.cwd())})
        said, complained = out.read_text(encoding="utf-8"), err.read_text(encoding="utf-8")
    if code == -signal.SIGALRM:
        raise subprocess.TimeoutExpired(arguments, seconds, said, complained)
    return subprocess.CompletedProcess(arguments, code, said, complained)


def _be_the_command(asked: dict[str, object]) -> int:
    os.environ.clear()
    os.environ.update(asked["environment"])  # type: ignore[call-overload]
    os.chdir(str(asked["folder"]))
    signal.setitimer(signal.ITIMER_REAL, float(str(asked["seconds"])))
    for number, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, str(asked["out"]), os.O_WRONLY | os.O_CREAT),
        (2, str(asked["err"]), os.O_WRONLY | os.O_CREAT),
    ):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    # The name in its help.
    sys.modules["__main__"].__package__ = None
    sys.argv = ["medallion", *asked["arguments"]]  # type: ignore[misc]
    try:
        sys.modules["cli.main"].main()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
            return 1
        return ended.code or 0
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        return 1
    return 0


def _serve() -> None:
    """A line of what is asked in, the exit code out."""
    do_without(PANDAS)
    for name in IMPORTED:
        importlib.import_module(name)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        child = os.fork()
        if not child:
            code = _be_the_command(json.loads(line))
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        _, status = os.waitpid(child, 0)
        answers.write(f"{os.waitstatus_to_exitcode(status)}\n")
        answers.flush()


if __name__ == "__main__":
    _serve()
