"""What is particular to each exchange, by its code; may import base modules only."""

from __future__ import annotations

from config.errors import MedallionError
from producers.exchanges import binance, bybit, coinbase, kraken, okx
from producers.exchanges.model import Exchange

REGISTRY: dict[str, Exchange] = {
    exchange.code: exchange for module in (binance, kraken, bybit, okx, coinbase) for exchange in module.EXCHANGES
}

#: Every code with its exchange and market, for help texts.
CODES = ", ".join(f"{exchange.code} ({exchange.title})" for exchange in REGISTRY.values())


class UnknownExchangeError(MedallionError, LookupError):
    """There is no module for this exchange code."""


def exchange(code: str) -> Exchange:
    """The exchange of a code.

    Raises:
        UnknownExchangeError: no module has it; the message lists those that exist.
    """
    try:
        return REGISTRY[code]
    except KeyError:
        known = ", ".join(REGISTRY)
        raise UnknownExchangeError(
            f"no producer for the exchange {code!r}; use one of {known}, or add a module to producers/exchanges"
        ) from None
