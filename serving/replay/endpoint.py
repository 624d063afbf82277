"""`GET /replay?options=…`: recorded messages as NDJSON."""

from __future__ import annotations

import asyncio
import json
import time

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from serving import metrics
from serving.market_data.markets import Markets
from serving.parameters import RequestParameters
from serving.replay.options import read_options
from serving.replay.slots import LONGEST_S, Slots
from serving.replay.source import Plan, RawSource


class ReplayApi:
    """The endpoint."""

    def __init__(self, source: RawSource, markets: Markets, slots: Slots) -> None:
        self._source = source
        self._markets = markets
        self._slots = slots

    async def replay(self, request: Request) -> Response:
        """Lines `{"localTimestamp":"…","message":…}` by receive time.

        Raises:
            ApiError: 403 if replays are closed, 429 while two others run, or as `read_options` and `RawSource.plan`.
        """
        self._slots.check_open()
        parameters = RequestParameters(request.query_params.multi_items(), frozenset({"options"}))
        window = read_options(parameters.text("options"), self._markets)
        self._slots.take()
        try:
            plan = await self._source.plan(window, time.time_ns() // 1000)
            return _ReplayResponse(self._source, plan, self._slots)
        except BaseException:
            self._slots.give_back()
            raise


class _ReplayResponse(StreamingResponse):
    """A replay under way. It gives its slot back when it is sent, its client has disconnected, or an hour is over."""

    def __init__(self, source: RawSource, plan: Plan, slots: Slots) -> None:
        self._slots = slots
        headers = {
            "X-Medallion-Messages": str(plan.messages),
            "X-Medallion-Missing": json.dumps(plan.missing),  # ASCII, as a header has to be
        }
        super().__init__(source.blocks(plan), headers=headers, media_type="application/x-json-stream")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it. A replay that fails or takes too long breaks off, so that the client sees that it is incomplete."""
        try:
            async with asyncio.timeout(LONGEST_S):
                with metrics.REPLAYS.track_inprogress():
                    await super().__call__(scope, receive, send)
        finally:
            self._slots.give_back()
