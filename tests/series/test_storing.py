"""Answers wait for the insert before theirs, and then go together. Nothing that came is left out."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence

import pytest

from series.answer import Answer
from series.errors import StoreError
from series.providers.model import ProviderError
from series.storing import Storing


def answer(number: int, rows: int = 1) -> Answer:
    return Answer("test", f"page {number}", number, b"", [{"open": "1"}] * rows)


class Gate:
    """An insert that lasts until it is let go."""

    def __init__(self) -> None:
        self.inserted: list[list[int]] = []
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def __call__(self, answers: Sequence[Answer]) -> None:
        self.began.release()
        self.may_end.acquire()
        self.inserted.append([one.received_us for one in answers])

    async def begins(self) -> None:
        await asyncio.to_thread(self.began.acquire)


def test_answers_that_come_during_an_insert_are_the_next_one() -> None:
    gate = Gate()

    async def run() -> None:
        async with Storing(gate) as storing:
            await storing.add(answer(1))
            await gate.begins()
            for number in (2, 3, 4):
                await storing.add(answer(number))
            gate.may_end.release(2)

    asyncio.run(run())
    assert gate.inserted == [[1], [2, 3, 4]]


def test_what_waits_is_stored_though_no_other_answer_comes() -> None:
    """A provider may ask for a pause of minutes."""
    gate = Gate()

    async def run() -> None:
        async with Storing(gate) as storing:
            await storing.add(answer(1))
            await gate.begins()
            await storing.add(answer(2))
            gate.may_end.release()
            await gate.begins()
            assert gate.inserted == [[1]]
            gate.may_end.release()

    asyncio.run(run())
    assert gate.inserted == [[1], [2]]


def test_more_rows_than_the_bound_wait_for_the_insert() -> None:
    gate = Gate()

    async def run() -> None:
        async with Storing(gate, most_rows=5) as storing:
            await storing.add(answer(1, rows=100))
            await gate.begins()
            await storing.add(answer(2, rows=4))
            third = asyncio.ensure_future(storing.add(answer(3)))
            await asyncio.sleep(0)
            assert not third.done()
            gate.may_end.release(2)
            await third

    asyncio.run(run())
    assert gate.inserted == [[1], [2, 3]]


def test_what_came_before_the_provider_failed_is_stored() -> None:
    gate = Gate()

    async def run() -> None:
        async with Storing(gate) as storing:
            await storing.add(answer(1))
            await gate.begins()
            await storing.add(answer(2))
            gate.may_end.release(2)
            raise ProviderError("429")

    with pytest.raises(ProviderError, match="429"):
        asyncio.run(run())
    assert gate.inserted == [[1], [2]]


def test_a_failed_insert_is_told_and_not_tried_again() -> None:
    blocks: list[int] = []

    def refuse(answers: Sequence[Answer]) -> None:
        blocks.append(len(answers))
        raise StoreError("away")

    async def run() -> None:
        async with Storing(refuse, most_rows=1) as storing:
            await storing.add(answer(1))
            await storing.add(answer(2))

    with pytest.raises(StoreError, match="away"):
        asyncio.run(run())
    assert blocks == [2]
