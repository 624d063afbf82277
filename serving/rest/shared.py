"""Requests for the same thing at nearly the same time are answered by one look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

Endpoint = Callable[[Request], Awaitable[Response]]
# An answer is renewed from this part of the age that it may have.
_RENEWED_FROM = 0.25


def shared(endpoint: Endpoint, *, kept_s: float = 0.0, clock: Callable[[], float] = time.monotonic) -> Endpoint:
    """The endpoint; a request whose parameters are those of one under way gets the answer to that.

    So a chart that many have open costs one question at a time, and no answer is older than a question takes.

    Args:
        endpoint: looks anew each time it is called.
        kept_s: an answer is given again until it is so old; a look that begins before renews it while the old one is
            given. An error is never given again.
        clock: monotonic time, s.
    """
    under_way: dict[str, asyncio.Task[Response]] = {}
    kept: dict[str, tuple[float, Response]] = {}

    async def look(asked: str, request: Request) -> Response:
        began = clock()
        found = await endpoint(request)
        if kept_s:
            for old in [one for one, (at, _) in kept.items() if began - at >= kept_s]:
                del kept[old]
            kept[asked] = began, found
        return found

    def ended(asked: str, task: asyncio.Task[Response]) -> None:
        del under_way[asked]
        if not task.cancelled():
            task.exception()  # Nobody may wait for a look that renews an answer.

    async def answer(request: Request) -> Response:
        asked = request.url.query
        at, found = kept.get(asked, (0.0, None))
        age = clock() - at
        if found is not None and age < kept_s * _RENEWED_FROM:
            return _again(found)
        task = under_way.get(asked)
        if task is None:
            task = asyncio.ensure_future(look(asked, request))
            under_way[asked] = task
            task.add_done_callback(lambda done: ended(asked, done))
        if found is not None and age < kept_s:
            return _again(found)
        # A client that goes away must not take the answer from the others.
        return _again(await asyncio.shield(task))

    return answer


def _again(found: Response) -> Response:
    return Response(found.body, found.status_code, media_type=found.media_type)
