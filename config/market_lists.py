"""Which markets an exchange has: ccxt asks it."""

from __future__ import annotations

from typing import Any

import ccxt

from config.errors import MedallionError
from config.markets import Markets


class MarketListError(MedallionError):
    """An exchange could not be asked for its markets."""


def fetch_markets(name: str) -> Markets:
    """The markets of a ccxt exchange (network; no keys needed).

    Raises:
        MarketListError: it cannot be reached, or refuses.
    """
    return markets_of(getattr(ccxt, name)({"number": str}))


def markets_of(exchange: Any) -> Markets:
    """As `fetch_markets`, of an exchange object of ccxt; numbers are text where its `number` is `str`.

    Raises:
        MarketListError: it cannot be reached, or refuses.
    """
    try:
        exchange.load_markets()
    except ccxt.BaseError as error:
        raise MarketListError(
            f"{exchange.id} gave no market list: is there a network to it? Else take one saved elsewhere, with"
            f" --markets. ({error})"
        ) from error
    # By symbol ccxt keeps one market only; here two assets of one ticker must show.
    return [market for same in exchange.markets_by_id.values() for market in same]
