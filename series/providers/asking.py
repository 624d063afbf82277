"""What all providers that ask over HTTP share."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import aiohttp
import msgspec

from producers.exchanges.model import RestError
from producers.rest.client import retry_busy
from producers.venue_limits import VenueUnavailableError
from series.answer import Defect
from series.providers.model import ProviderError

Result = TypeVar("Result")


async def patiently(code: str, ask: Callable[[], Awaitable[Result]]) -> Result:
    """What `ask` returns; it is repeated while the provider is busy, after the pause that the provider asks for.

    Raises:
        ProviderError: the provider refuses the request, stays busy, or is not asked because it failed repeatedly.
    """

    async def once() -> Result:
        return await ask()

    try:
        result: Result = await retry_busy(code)(once)
    except (RestError, VenueUnavailableError, aiohttp.ClientError, TimeoutError) as error:
        raise ProviderError(f"{code}: {error or type(error).__name__}; run again later") from error
    return result


def defect_of(body: bytes) -> Defect:
    """What is wrong with an answer that has no rows."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Defect.NOT_JSON
    return Defect.OTHER_SHAPE
