"""Invariant: Ctrl-C is answered with what was done, what is left and how to go on, by exit code 130, no traceback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.common.work import StoppedError, explained, working


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


def test_ctrl_c_while_a_server_is_waited_for(tmp_path: Path) -> None:
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
        command.send_signal(signal.SIGINT)
        _, said = command.communicate(timeout=60)
        connection.close()
    assert (command.returncode, said) == (130, "Stopped by Ctrl-C. The command did not end: run it again.\n")
