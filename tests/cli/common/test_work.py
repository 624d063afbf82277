"""Invariant: a command that a signal ends says what was done, what is left and how to go on, without a traceback.

Its exit code is 128 and the signal's number. That no process stays is in tests/stack/operation/test_lifecycle.py.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.common.work import StoppedError, explained, working
from config.process.stopping import stop_signals


def test_it_says_what_was_shown_last_and_what_was_lost_on_the_way_out() -> None:
    def count() -> None:
        with working("Counting", "Run it again.") as work:
            work.show("1 of 3 days", "2 days", share=1 / 3)
            work.show("2 of 3 days", "1 day", doing="2024-08-09", share=2 / 3)
            lost = KeyboardInterrupt()
            lost.add_note("5 messages are not delivered.")
            raise lost

    with pytest.raises(StoppedError) as stopped:
        count()
    said = "Stopped by Ctrl-C. Done: 2 of 3 days. Left: 1 day. Run it again. 5 messages are not delivered."
    assert str(stopped.value) == said


def test_before_anything_was_done_it_says_so() -> None:
    with pytest.raises(StoppedError, match=r"Done: nothing yet\. Left: all of it\."), working("Counting", "Again."):
        raise KeyboardInterrupt


def test_another_error_goes_through() -> None:
    with pytest.raises(ValueError, match="other"), explained(lambda: "never"):
        raise ValueError("other")


def test_a_pipe_sees_no_progress(capfd: pytest.CaptureFixture[str]) -> None:
    for quiet in (False, True):
        with working("Counting", "Again.", quiet=quiet) as work:
            work.show("1", "2", share=0.5)
    assert capfd.readouterr() == ("", "")


def test_a_second_ctrl_c_is_told_from_the_first() -> None:
    """The cleaning up did not end, so `say` is all that is known."""

    def stop_twice() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise KeyboardInterrupt

    with pytest.raises(StoppedError) as stopped, explained(lambda: "Look."):
        stop_twice()
    assert str(stopped.value) == "Stopped by Ctrl-C while it was cleaning up. Look."


def test_asyncio_work_is_cancelled_and_cleans_up() -> None:
    """An exception in the middle of an event loop would leave coroutines that the interpreter complains about."""
    program = """
import asyncio, os, signal
from config.process import stopping
stopping.take_for_ctrl_c()
async def work():
    os.kill(os.getpid(), signal.SIGTERM)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        await asyncio.sleep(0)
        print("cleaned up")
        raise
try:
    asyncio.run(work())
except KeyboardInterrupt:
    print(stopping.name(), stopping.exit_code())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("cleaned up\nSIGTERM 143\n", "")


def test_what_nohup_starts_goes_on_when_the_terminal_is_closed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert stop_signals() == (signal.SIGINT, signal.SIGTERM)
    finally:
        signal.signal(signal.SIGHUP, before)
    assert signal.SIGHUP in stop_signals()


@pytest.mark.parametrize(("number", "name"), [(signal.SIGINT, "Ctrl-C"), (signal.SIGTERM, "SIGTERM")])
def test_a_signal_while_a_server_is_waited_for(tmp_path: Path, number: signal.Signals, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoints = {
            "MEDALLION_CLICKHOUSE_HOST": "127.0.0.1",
            "MEDALLION_CLICKHOUSE_HTTP_PORT": str(silent.getsockname()[1]),
            "XDG_STATE_HOME": str(tmp_path),
        }
        command = subprocess.Popen(
            [sys.executable, "-m", "cli", "query", "SELECT 1"],
            env={**os.environ, **endpoints},
            stderr=subprocess.PIPE,
            text=True,
        )
        silent.settimeout(120)
        connection, _ = silent.accept()
        command.send_signal(number)
        _, said = command.communicate(timeout=60)
        connection.close()
    assert (command.returncode, said) == (
        128 + number,
        f"Stopped by {name}. The command did not end: run it again.\n",
    )
