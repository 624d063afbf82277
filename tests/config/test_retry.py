"""The retry policy: pauses grow up to a cap, and each way of repeating a call ends as it says."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import pytest
import structlog
from tenacity import RetryError

from config.process import retry


def failing(times: int, error: Exception) -> tuple[list[int], Callable[[], str]]:
    """A call that fails `times` times, and the list of its attempts."""
    attempts: list[int] = []

    def call() -> str:
        attempts.append(len(attempts) + 1)
        if len(attempts) <= times:
            raise error
        return "done"

    return attempts, call


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses in threads, which take no time here."""
    taken: list[float] = []
    monkeypatch.setattr(time, "sleep", taken.append)
    return taken


def test_pauses_double_up_to_the_cap_and_never_overflow() -> None:
    assert [retry.pause_s(0.5, doubled, 5.0) for doubled in range(5)] == [0.5, 1.0, 2.0, 4.0, 5.0]
    assert retry.pause_s(0.5, 10_000, 5.0) == 5.0


def test_jitter_only_adds_and_the_cap_holds() -> None:
    drawn = [retry.pause_s(0.2, 0, 5.0, jitter_s=0.2) for _ in range(200)]
    assert 0.2 <= min(drawn) < max(drawn) <= 0.4
    assert {retry.pause_s(0.2, 9, 5.0, jitter_s=0.2) for _ in range(20)} == {5.0}


def test_a_service_that_starts_is_asked_with_growing_pauses_and_then_its_error_is_raised(pauses: list[float]) -> None:
    attempts, call = failing(4, OSError("away"))
    assert retry.retry_for(60, (OSError,), first_s=0.2, longest_s=1.0)(call) == "done"
    assert (attempts[-1], pauses) == (5, [0.2, 0.4, 0.8, 1.0])
    attempts, call = failing(1, OSError("away"))
    with pytest.raises(OSError, match="away"):
        retry.retry_for(0, (OSError,), first_s=0.2, longest_s=1.0)(call)
    with pytest.raises(ValueError, match="not one of them"):
        retry.retry_for(60, (OSError,), first_s=0.2, longest_s=1.0)(failing(1, ValueError("not one of them"))[1])


def test_a_lost_race_is_repeated_ten_times_within_3_s_and_then_its_error_is_raised(pauses: list[float]) -> None:
    attempts, call = failing(9, RuntimeError("lost"))
    assert retry.retry_on_conflict(RuntimeError)(call)() == "done"
    assert attempts[-1] == 10
    assert all(0.01 <= pause <= 0.3 for pause in pauses)
    with pytest.raises(RuntimeError, match="lost"):
        retry.retry_on_conflict(RuntimeError)(failing(10, RuntimeError("lost"))[1])()


def test_who_waits_for_its_turn_says_for_whom_after_3_s_and_again_every_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += seconds

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with structlog.testing.capture_logs() as logs, pytest.raises(OSError, match="busy: another"):
        retry.retry_in_turn(100, (OSError,), structlog.get_logger(), "waiting")(
            failing(999, OSError("busy: another"))[1]
        )
    assert [(entry["event"], entry["error"]) for entry in logs] == [("waiting", "busy: another")] * 2
    first, second = (entry["waited_s"] for entry in logs)
    assert 3 <= first <= 5
    assert first + 60 <= second <= first + 63


def test_a_poll_returns_the_first_true_result_or_the_last_false_one(pauses: list[float]) -> None:
    results = iter([0, 0, 7, 8])
    assert retry.poll(lambda: next(results), 60, 0.02) == 7
    assert pauses == [0.02, 0.02]
    assert retry.poll(lambda: "", 0, 0.02) == ""


def test_a_thread_tries_until_it_is_stopped() -> None:
    stop = threading.Event()
    told: list[tuple[str, int]] = []

    def tell(error: BaseException, attempt: int) -> None:
        told.append((str(error), attempt))
        if attempt == 2:
            stop.set()

    with pytest.raises(RetryError):
        retry.retry_until_stopped(stop, (OSError,), tell)(failing(100, OSError("away"))[1])
    assert told == [("away", 1), ("away", 2)]


def test_a_connection_tries_until_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_S", 0.001)
    log = structlog.get_logger()

    async def run() -> None:
        attempts, call = failing(2, OSError("away"))

        async def connect() -> str:
            return call()

        assert await retry.retry_until(asyncio.Event(), (OSError,), 0.002, log, "again")(connect) == "done"
        assert attempts == [1, 2, 3]
        end = asyncio.Event()

        async def end_it() -> None:
            end.set()
            raise OSError

        assert await retry.retry_until(end, (OSError,), 60.0, log, "again")(end_it) is None

    asyncio.run(run())


def test_a_request_is_repeated_so_many_times_and_keeps_the_pause_it_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_S", 0.001)

    class AskedToWaitError(Exception):
        wait_s = 0.01

    async def run() -> list[tuple[int, float]]:
        attempts, call = failing(9, AskedToWaitError("busy"))

        async def request() -> str:
            return call()

        again = retry.retry_times(3, lambda _: True, 60.0, structlog.get_logger(), "asking again")
        with structlog.testing.capture_logs() as logs, pytest.raises(AskedToWaitError):
            await again(request)
        assert attempts == [1, 2, 3]
        return [(entry["attempt"], entry["wait_s"]) for entry in logs]

    assert asyncio.run(run()) == [(1, 0.01), (2, 0.01)]
