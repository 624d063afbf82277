"""Runs one REST call of a ccxt class within the venue's limits, and turns its errors into those of `producers.rest`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ccxt import BaseError, NetworkError

from producers import metrics
from producers.exchanges.model import RestError
from producers.rest.client import BusyError, retry_after_s
from producers.venue_limits import VenueLimits

# Errors that a ccxt class raises for an answer that does not have the form it expects.
UNFORESEEN = (LookupError, TypeError, ValueError, AttributeError, RecursionError)
Answer = TypeVar("Answer")


async def call(code: str, venue: Any, venue_limits: VenueLimits, request: Callable[[], Awaitable[Answer]]) -> Answer:
    """Return the result of `request`, which calls methods of `venue` (from `producers.ccxt.venue.make`).

    Raises:
        BusyError: the exchange is busy or unreachable.
        RestError: it refuses the request, or its answer does not have the expected form.
        VenueUnavailableError: the circuit breaker is open.
    """
    venue.forget_answer()
    try:
        async with venue_limits.requesting():
            answer = await request()
    except NetworkError as error:
        metrics.REST_REQUESTS.labels(code, type(error).__name__).inc()
        pause_s = retry_after_s(venue.last_headers.get("retry-after", ""))
        raise BusyError(f"{type(error).__name__}: {error}", pause_s) from error
    except BaseError as error:
        metrics.REST_REQUESTS.labels(code, type(error).__name__).inc()
        raise RestError(f"{type(error).__name__}: {error}") from error
    except UNFORESEEN as error:
        metrics.REST_REQUESTS.labels(code, "unreadable").inc()
        raise RestError(f"unreadable answer ({error!r})") from error
    metrics.REST_REQUESTS.labels(code, "200").inc()
    return answer
