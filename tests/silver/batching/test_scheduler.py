"""How often a worker inserts: few parts at low rates, a bounded wait always. Time is simulated, nothing is slept."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from silver_processor.batching.scheduler import InsertScheduler, InsertTiming

TIMING = InsertTiming(small_rows=250, gap_s=0.5, longest_wait_s=1.0)
INSERT_S = 0.05


class Simulated(asyncio.SelectorEventLoop):
    """A loop whose time jumps to the next timer instead of passing."""

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self.now


class _Jumping(selectors.SelectSelector):
    def __init__(self, loop: Simulated) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "everything waits and no timer is set"
        self._loop.now += max(timeout, 0)
        return super().select(0)


def simulated(scenario: Callable[[Simulated], Coroutine[Any, Any, None]]) -> None:
    loop = Simulated()
    try:
        loop.run_until_complete(scenario(loop))
    finally:
        loop.close()


@dataclass
class Partition:
    """Takes everything that waits into each insert, which lasts `INSERT_S`."""

    loop: Simulated
    waiting: list[tuple[float, int]] = field(default_factory=list)
    inserts: list[tuple[float, int, float]] = field(default_factory=list)
    in_doubt: bool = False
    complete: bool = True

    @property
    def can_insert(self) -> bool:
        return bool(self.waiting) and (self.complete or not self.in_doubt)

    @property
    def waiting_rows(self) -> int:
        return sum(rows for _, rows in self.waiting)

    @property
    def waiting_messages(self) -> int:
        return len(self.waiting)

    @property
    def oldest(self) -> float:
        return self.waiting[0][0]

    async def insert_next(self) -> None:
        """Notes when it started, its rows, and how long the oldest message waited."""
        self.inserts.append((self.loop.now, self.waiting_rows, self.loop.now - self.oldest))
        self.waiting.clear()
        self.in_doubt = False
        await asyncio.sleep(INSERT_S)


async def nothing() -> None:
    """Between two inserts."""


def build(partitions: list[Partition], loop: Simulated, timing: InsertTiming = TIMING) -> InsertScheduler:
    return InsertScheduler(timing, 1_000, loop.time, nothing, lambda: partitions)


async def feed(
    loop: Simulated, partitions: list[Partition], rows_a_second: float, seconds: float, timing: InsertTiming = TIMING
) -> list[tuple[float, int, float]]:
    """Bronze messages every 50 ms in turn of the partitions; all inserts, in order."""
    scheduler = build(partitions, loop, timing)
    running = asyncio.create_task(scheduler.run())
    owed, number = 0.0, 0
    while loop.now < seconds:
        owed += rows_a_second * 0.05
        if owed >= 1:
            partitions[number % len(partitions)].waiting.append((loop.now, int(owed)))
            owed -= int(owed)
            number += 1
            scheduler.wake()
        await asyncio.sleep(0.05)
    while any(partition.waiting for partition in partitions):
        await asyncio.sleep(0.05)
    scheduler.stop()
    await running
    return sorted(insert for partition in partitions for insert in partition.inserts)


def most_in_a_second(starts: list[float]) -> int:
    return max(sum(start <= other < start + 0.99 for other in starts) for start in starts)


@given(st.floats(1, 499), st.integers(1, 2))
def test_at_low_rates_a_worker_inserts_at_most_twice_a_second(rows_a_second: float, count: int) -> None:
    """Within what the latency bound leaves room for, that is up to two busy partitions."""

    async def scenario(loop: Simulated) -> None:
        inserts = await feed(loop, [Partition(loop) for _ in range(count)], rows_a_second / count, 20)
        starts = [start for start, _, _ in inserts]
        assert most_in_a_second(starts) <= 2
        assert max(wait for _, _, wait in inserts) <= TIMING.longest_wait_s + INSERT_S + 1e-9

    simulated(scenario)


@pytest.mark.parametrize(("rate", "longest", "most"), [(2_000, 0.2, 10), (5_000, 0.11, 20), (100_000, 0.11, 20)])
def test_at_high_rates_latency_wins(rate: float, longest: float, most: int) -> None:
    """No insert waits for the gap; there are no more of them than the small ones' rows or their own length allow."""

    async def scenario(loop: Simulated) -> None:
        # What the feed leaves over at its end is a small insert again.
        inserts = (await feed(loop, [Partition(loop)], rate, 5))[:-1]
        assert max(wait for _, _, wait in inserts) <= longest
        assert most_in_a_second([start for start, _, _ in inserts]) <= most

    simulated(scenario)


@given(st.integers(1, 12), st.floats(1, 20_000), st.floats(0.1, 2.0))
def test_no_message_waits_longer_than_the_bound_asks(count: int, rate: float, bound: float) -> None:
    """Whatever the gap says; with many partitions a message also waits for the inserts of the others."""
    timing = InsertTiming(small_rows=250, gap_s=0.5, longest_wait_s=bound)

    async def scenario(loop: Simulated) -> None:
        inserts = await feed(loop, [Partition(loop) for _ in range(count)], rate, 3, timing)
        assert max(wait for _, _, wait in inserts) <= bound + count * INSERT_S + 1e-9

    simulated(scenario)


def test_after_a_pause_the_first_message_does_not_wait() -> None:
    async def scenario(loop: Simulated) -> None:
        (insert,) = await feed(loop, [Partition(loop)], 20, 0.04)
        assert insert == (0.0, 1, 0.0)

    simulated(scenario)


def test_an_insert_in_doubt_goes_first_and_at_once() -> None:
    async def scenario(loop: Simulated) -> None:
        fresh, doubtful = Partition(loop), Partition(loop, in_doubt=True, complete=False)
        scheduler = build([fresh, doubtful], loop)
        running = asyncio.create_task(scheduler.run())
        fresh.waiting.append((0.0, 1))
        doubtful.waiting.append((0.0, 1))
        scheduler.wake()
        await asyncio.sleep(0.1)
        assert (len(fresh.inserts), len(doubtful.inserts)) == (1, 0), "its messages are not all here"
        doubtful.complete = True
        scheduler.wake()
        await asyncio.sleep(0.01)
        assert len(doubtful.inserts) == 1
        scheduler.stop()
        await running

    simulated(scenario)


def test_arrivals_are_held_back_while_much_waits_and_only_if_an_insert_can_go_on() -> None:
    """Memory is bounded; an insert in doubt that waits for more messages gets them."""

    async def scenario(loop: Simulated) -> None:
        partition = Partition(loop, waiting=[(0.0, 1_000)])
        scheduler = build([partition], loop)
        held = asyncio.create_task(scheduler.wait_for_room())
        await asyncio.sleep(1)
        assert not held.done()
        running = asyncio.create_task(scheduler.run())
        await held
        assert partition.inserts
        partition.waiting.append((loop.now, 1_000))
        partition.in_doubt, partition.complete = True, False
        await scheduler.wait_for_room()
        scheduler.stop()
        await running

    simulated(scenario)
