"""Which markets an exchange has: ccxt asks it."""

from __future__ import annotations

from typing import Any

import ccxt
import requests
from requests.adapters import HTTPAdapter

from config.errors import MedallionError
from config.markets import Markets

#: The longest list that an exchange serves is below 10 MiB.
_LIST_BYTES = 64 * 2**20
_PIECE_BYTES = 65_536


class MarketListError(MedallionError):
    """An exchange could not be asked for its markets."""


class _BoundedAdapter(HTTPAdapter):
    """Answers of at most `_LIST_BYTES`, counted as they are unpacked."""

    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        """The answer with its body read.

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
        # What `content` and `text` give once a body was read; requests has no public way to hand it over.
        response._content = bytes(body)
        return response


def bound(exchange: Any) -> None:
    """Let an exchange object of ccxt take no answer that is too large, and follow no redirect."""
    exchange.session.max_redirects = 0
    for scheme in ("https://", "http://"):
        exchange.session.mount(scheme, _BoundedAdapter())


def fetch_markets(name: str) -> Markets:
    """The markets of a ccxt exchange (network; no keys needed).

    Raises:
        MarketListError: it cannot be reached, or refuses.
    """
    exchange = getattr(ccxt, name)({"number": str})
    bound(exchange)
    return markets_of(exchange)


def markets_of(exchange: Any) -> Markets:
    """As `fetch_markets`, of an exchange object of ccxt; numbers are text where its `number` is `str`.

    Raises:
        MarketListError: it cannot be reached, or refuses.
    """
    try:
        exchange.load_markets()
    # What a class of ccxt makes of an answer it does not know can be any of these.
    except (ccxt.BaseError, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise MarketListError(
            f"{exchange.id} gave no market list: is there a network to it? Else take one saved elsewhere, with"
            f" --markets. ({error})"
        ) from error
    # By symbol ccxt keeps one market only; here two assets of one ticker must show.
    markets = [market for same in (exchange.markets_by_id or {}).values() for market in same]
    if not markets:
        raise MarketListError(f"{exchange.id} answered with no market at all: try again, or take a saved list.")
    return markets
