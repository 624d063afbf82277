"""Waits until a process that was just started answers over HTTP."""

from __future__ import annotations

import subprocess
from contextlib import suppress

import urllib3

from config.process.retry import poll

_POLL_S, _ANSWER_S = 0.1, 2.0


def answers(url: str, process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether `url` answers 200 within `seconds`; false at once if the process has ended."""

    def answered() -> bool:
        with suppress(urllib3.exceptions.HTTPError):
            return urllib3.request("GET", url, retries=False, timeout=_ANSWER_S).status == 200
        return False

    # The process is asked first: it may end between the two questions.
    ended_or_answers = poll(lambda: process.poll() is not None or answered(), seconds, _POLL_S)
    return ended_or_answers and process.poll() is None
