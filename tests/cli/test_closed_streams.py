"""Invariant: a command runs whichever of its standard streams the caller has closed, and in any encoding of them."""

from __future__ import annotations

import os
import subprocess
import sys


def test_all_streams_are_closed() -> None:
    command = [sys.executable, "-m", "cli", "schedule", "--help"]
    script = 'exec "$@" <&- >&- 2>&-'
    assert subprocess.run(["/bin/sh", "-c", script, "sh", *command], timeout=60, check=False).returncode == 0


def test_an_error_is_still_told_where_the_result_has_no_place() -> None:
    command = [sys.executable, "-m", "cli", "symbols", "check", "--file", "/nowhere"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command], timeout=60, check=False, text=True, stderr=subprocess.PIPE
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")


def test_a_character_that_the_terminal_lacks_is_an_escape() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "cli", "rederive", "--help"],
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert b"\\u2026" in shown.stdout
