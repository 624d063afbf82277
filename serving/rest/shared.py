"""Answers requests with the same parameters at nearly the same time by one query."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

# The header in which a client of Binance's spot interface says the unit of times in the answer.
TIME_UNIT = "x-mbx-time-unit"
Endpoint = Callable[[Request], Awaitable[Response]]
# From this part of its longest age on, an answer is renewed while it is still given.
_RENEWED_FROM = 0.25


def shared(endpoint: Endpoint, *, kept_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> Endpoint:
    """Wrap an endpoint: a request with the parameters of one under way gets the answer to that one.

    So a chart that many clients have open costs one query at a time.

    Args:
        endpoint: queries ClickHouse each time it is called.
        kept_s: an answer is reused until it is so old, s. It is renewed before, while the old one is still given. An
            error is never reused. 0: no answer is reused once it is sent.
        clock: monotonic time, s.
    """
    under_way: dict[str, asyncio.Task[Response]] = {}
    kept: dict[str, tuple[float, Response]] = {}

    async def fetch(query: str, request: Request) -> Response:
        began = clock()
        response = await endpoint(request)
        if kept_s:
            for expired in [key for key, (at, _) in kept.items() if began - at >= kept_s]:
                del kept[expired]
            kept[query] = began, response
        return response

    def ended(query: str, task: asyncio.Task[Response]) -> None:
        del under_way[query]
        if not task.cancelled():
            task.exception()  # Read it, as no request may be waiting for this task.

    async def answer(request: Request) -> Response:
        # An answer depends on nothing else of a request: its parameters, and the unit of its times.
        query = f"{request.url.query} {request.headers.get(TIME_UNIT, '')}"
        at, response = kept.get(query, (0.0, None))
        age = clock() - at
        if response is not None and age < kept_s * _RENEWED_FROM:
            return _copy(response)
        task = under_way.get(query)
        if task is None:
            task = asyncio.ensure_future(fetch(query, request))
            under_way[query] = task
            task.add_done_callback(lambda done: ended(query, done))
        if response is not None and age < kept_s:
            return _copy(response)
        # A client that disconnects must not cancel the task of the others.
        return _copy(await asyncio.shield(task))

    return answer


def _copy(response: Response) -> Response:
    return Response(response.body, response.status_code, media_type=response.media_type)
