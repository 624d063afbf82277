"""Invariant: an answer is given again only to the same request, and never older than it may be."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Awaitable, Callable

import pytest
from starlette.requests import Request
from starlette.responses import Response

from serving.errors import ApiError
from serving.rest.shared import shared


class Prices:
    """An endpoint whose answer is the number of its looks, and a clock that is set by hand."""

    def __init__(self) -> None:
        self.looks, self.now, self.fails = 0, 1_000.0, False
        self.answers: list[weakref.ref[Response]] = []
        self.may_go_on = asyncio.Event()
        self.may_go_on.set()

    async def look(self, request: Request) -> Response:
        del request
        self.looks += 1
        answer = str(self.looks)
        await self.may_go_on.wait()
        if self.fails:
            raise ApiError(-1001, "ClickHouse does not answer.")
        response = Response(answer)
        self.answers.append(weakref.ref(response))
        return response


def ask(endpoint: Callable[[Request], Awaitable[Response]], query: str = "") -> Awaitable[Response]:
    return endpoint(Request({"type": "http", "path": "/", "headers": [], "query_string": query.encode()}))


async def body(endpoint: Callable[[Request], Awaitable[Response]], query: str = "") -> str:
    return bytes((await ask(endpoint, query)).body).decode()


async def rest() -> None:
    """Let every task that can go on do so."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_the_same_request_at_the_same_time_is_one_look() -> None:
    async def main() -> None:
        prices = Prices()
        endpoint = shared(prices.look)
        answers = await asyncio.gather(body(endpoint), body(endpoint), body(endpoint, "symbol=A"))
        assert list(answers) == ["1", "1", "2"]
        assert await body(endpoint) == "3"

    asyncio.run(main())


def test_a_kept_answer_is_renewed_while_it_is_given_and_never_given_when_too_old() -> None:
    async def main() -> None:
        prices = Prices()
        endpoint = shared(prices.look, kept_s=0.5, clock=lambda: prices.now)
        assert await body(endpoint) == "1"
        prices.now += 0.12
        assert (await body(endpoint), prices.looks) == ("1", 1)
        assert await body(endpoint, "symbol=A") == "2"
        prices.now += 0.01
        assert await body(endpoint) == "1"
        await rest()
        assert await body(endpoint) == "3"
        prices.now += 0.5
        assert await body(endpoint) == "4"

    asyncio.run(main())


def test_the_age_counts_from_the_beginning_of_a_look() -> None:
    async def main() -> None:
        prices = Prices()
        endpoint = shared(prices.look, kept_s=0.5, clock=lambda: prices.now)
        prices.may_go_on.clear()
        slow = asyncio.ensure_future(body(endpoint))
        await rest()
        prices.now += 0.6
        prices.may_go_on.set()
        assert await slow == "1"
        assert await body(endpoint) == "2"

    asyncio.run(main())


def test_an_error_is_not_kept_and_a_renewal_that_fails_takes_no_answer_away() -> None:
    async def main() -> None:
        prices = Prices()
        endpoint = shared(prices.look, kept_s=0.5, clock=lambda: prices.now)
        assert await body(endpoint) == "1"
        prices.fails = True
        prices.now += 0.3
        assert await body(endpoint) == "1"
        await rest()
        prices.now += 0.3
        with pytest.raises(ApiError):
            await ask(endpoint)
        prices.fails = False
        assert await body(endpoint) == "4"

    asyncio.run(main())


def test_answers_that_are_too_old_leave_memory() -> None:
    async def main() -> None:
        prices = Prices()
        endpoint = shared(prices.look, kept_s=0.5, clock=lambda: prices.now)
        for number in range(100):
            prices.now += 1
            await ask(endpoint, f"symbol={number}")
        assert sum(answer() is not None for answer in prices.answers) == 1

    asyncio.run(main())
