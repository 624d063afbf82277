"""Requests for the same thing at the same time are answered by one look."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response


def shared(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint; a request whose parameters are those of one under way gets the answer to that.

    So a chart that many have open costs one question at a time, and no answer is older than a question takes.
    """
    under_way: dict[str, asyncio.Task[Response]] = {}

    async def answer(request: Request) -> Response:
        asked = request.url.query
        task = under_way.get(asked)
        if task is None:
            task = asyncio.ensure_future(endpoint(request))
            under_way[asked] = task
            task.add_done_callback(lambda _done: under_way.pop(asked))
        # A client that goes away must not take the answer from the others.
        found = await asyncio.shield(task)
        return Response(found.body, found.status_code, media_type=found.media_type)

    return answer
