"""Waits until a process that was just started answers over HTTP."""

from __future__ import annotations

import subprocess
from contextlib import suppress

import urllib3
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

_POLL_S, _ANSWER_S = 0.1, 2.0


def answers(url: str, process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether `url` answers 200 within `seconds`; false at once if the process has ended."""

    def look() -> bool | None:
        with suppress(urllib3.exceptions.HTTPError):
            if urllib3.request("GET", url, retries=False, timeout=_ANSWER_S).status == 200:
                return True
        return None if process.poll() is None else False

    retrying = Retrying(
        retry=retry_if_result(lambda found: found is None),
        stop=stop_after_delay(seconds),
        wait=wait_fixed(_POLL_S),
        retry_error_callback=lambda _: False,
    )
    return bool(retrying(look))
