"""HTTP requests of the providers: the session, repetition while a provider is busy, answers that cannot be read."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import aiohttp
import msgspec

from producers.exchanges.model import RefusedError, RestError
from producers.rest.bounded import bounded_session
from producers.rest.client import get_body, retry_busy
from producers.venue_limits import VenueUnavailableError
from series.answer import Defect
from series.providers.model import ProviderError

Result = TypeVar("Result")
_TIMEOUT_S = 20.0


class HttpSession:
    """The connections to one provider, opened with the first request. Answers are bounded, redirects refused."""

    def __init__(self, code: str) -> None:
        """`code`: the label under which requests are counted."""
        self._code = code
        self._session: aiohttp.ClientSession | None = None

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> bytes:
        """The body of an answer. Raises as `get_body`."""
        if self._session is None:
            self._session = bounded_session(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S), trust_env=True)
        return await get_body(self._session, self._code, url, headers)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()


async def retry_while_busy(code: str, ask: Callable[[], Awaitable[Result]]) -> Result:
    """Call `ask`, and repeat it while the provider is busy, after the pause that the provider asks for.

    Raises:
        ProviderError: the provider refuses the request or stays busy, or its circuit breaker is open.
    """

    async def once() -> Result:
        return await ask()

    try:
        result: Result = await retry_busy(code)(once)
    except RefusedError as error:
        raise ProviderError(f"{code}: {error}") from error
    except (RestError, VenueUnavailableError, aiohttp.ClientError, TimeoutError) as error:
        raise ProviderError(f"{code}: {error or type(error).__name__}; run again later") from error
    return result


def defect_of(body: bytes) -> Defect:
    """The defect of an answer without rows: no JSON, or JSON of another shape."""
    try:
        msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Defect.NOT_JSON
    return Defect.OTHER_SHAPE
