"""Everything that differs between exchanges, by exchange code. May import base modules only."""

from __future__ import annotations

from config.errors import MedallionError
from producers.exchanges import binance, bybit, coinbase, kraken, okx
from producers.exchanges.model import Exchange

REGISTRY: dict[str, Exchange] = {
    exchange.code: exchange for module in (binance, kraken, bybit, okx, coinbase) for exchange in module.EXCHANGES
}

# Every code with its exchange and market, for help texts.
CODES = ", ".join(f"{exchange.code} ({exchange.title})" for exchange in REGISTRY.values())


class UnknownExchangeError(MedallionError, LookupError):
    """No module has this exchange code."""


def exchange(code: str) -> Exchange:
    """The exchange with this code.

    Raises:
        UnknownExchangeError: no module has the code. The message lists all codes.
    """
    try:
        return REGISTRY[code]
    except KeyError:
        known = ", ".join(REGISTRY)
        raise UnknownExchangeError(
            f"no producer for the exchange {code!r}; use one of {known}, or add a module to producers/exchanges"
        ) from None
