"""Requests an exchange's list of markets through ccxt."""

from __future__ import annotations

from typing import Any

import ccxt
import requests
from requests.adapters import HTTPAdapter

from config.errors import MedallionError
from config.symbols.markets import Markets

# Most bytes of a list. The longest list that an exchange serves has less than 10 MiB.
_LIST_BYTES = 64 * 2**20
_PIECE_BYTES = 65_536


class MarketListError(MedallionError):
    """The exchange sent no list of markets."""


class _BoundedAdapter(HTTPAdapter):
    """Limits answers to `_LIST_BYTES`, counted while they are unpacked."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """Send the request and read the whole answer.

        Raises:
            requests.exceptions.ContentDecodingError: the body is larger, or damaged.
        """
        response = super().send(request, *arguments, **options | {"stream": True})
        body = bytearray()
        for piece in response.iter_content(_PIECE_BYTES):
            body += piece
            if len(body) > _LIST_BYTES:
                response.close()
                message = f"{response.url} sent more than {_LIST_BYTES:,} bytes"
                raise requests.exceptions.ContentDecodingError(message)
        # The body for `content` and `text`. requests has no public way to set it.
        response._content = bytes(body)
        return response


def bound(exchange: Any) -> None:
    """Make a ccxt exchange object refuse answers that are too large, and follow no redirect."""
    exchange.session.max_redirects = 0
    for scheme in ("https://", "http://"):
        exchange.session.mount(scheme, _BoundedAdapter())


def fetch_markets(name: str) -> Markets:
    """Request the markets of a ccxt exchange. No key is needed.

    Raises:
        MarketListError: it cannot be reached, or refuses.
    """
    exchange = getattr(ccxt, name)({"number": str})
    bound(exchange)
    return markets_of(exchange)


def markets_of(exchange: Any) -> Markets:
    """As `fetch_markets`, for a ccxt exchange object. Numbers are text if its `number` is `str`.

    Raises:
        MarketListError: it cannot be reached, or refuses.
    """
    try:
        exchange.load_markets()
    # Errors that ccxt classes raise for an answer that they do not know.
    except (ccxt.BaseError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise MarketListError(
            f"{exchange.id} gave no market list: is there a network to it? Else take one saved elsewhere, with"
            f" --markets. ({error})"
        ) from error
    # ccxt keeps only one market of a symbol, but two assets with one ticker must both be seen.
    markets = [market for same in (exchange.markets_by_id or {}).values() for market in same]
    if not markets:
        raise MarketListError(f"{exchange.id} answered with no market at all: try again, or take a saved list.")
    return markets
