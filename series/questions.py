"""How each provider is opened, and what a run asks it for each market."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from config.registry import SymbolRegistry
from producers.backfill.dumps import URL
from series.declaration import Series
from series.errors import SeriesError
from series.providers.alternative_me import AlternativeMe
from series.providers.binance_dumps import BinanceDumps
from series.providers.ccxt_rest import CcxtRest
from series.providers.model import Provider, Question

# By the name that declarations give it: opens a provider of an exchange's markets, source and REST address.
PROVIDERS: dict[str, Callable[[str, str, str | None], Provider]] = {
    "binance": lambda _exchange, source, _address: BinanceDumps(source),
    "ccxt": lambda exchange, _source, address: CcxtRest(exchange, address),
    "alternative_me": lambda _exchange, _source, address: AlternativeMe(address),
}
DEFAULT_SOURCE = URL


def open_provider(name: str, exchange: str, source: str, rest_endpoint: str | None) -> Provider:
    """A provider by its name; the caller closes it.

    Args:
        name: one of `PROVIDERS`.
        exchange: whose markets; our code, or ccxt's name.
        source: folder or URL of Binance's files.
        rest_endpoint: replaces the address of the provider's REST interface.

    Raises:
        SeriesError: there is no such provider, or ccxt does not know the exchange.
    """
    if name not in PROVIDERS:
        raise SeriesError(f"no provider {name!r}: name one of {', '.join(PROVIDERS)} in the series' file")
    return PROVIDERS[name](exchange, source, rest_endpoint)


def questions_of(
    series: Series,
    registry: SymbolRegistry,
    exchange: str,
    symbols: Sequence[str],
    frame: str,
    start: datetime,
    end: datetime,
) -> list[Question]:
    """A question for each of the exchange's own `symbols`; one in all where the series is of no market.

    Raises:
        SeriesError: the symbols file has no such symbol.
    """
    frame = frame if series.frame else ""
    if "symbol" not in series.key:
        return [Question(series, start, end, frame=frame)]
    markets = registry.content.exchanges.get(exchange, {})
    canonical = {own: entry.canonical for name, entry in markets.items() for own in (name, *entry.aliases)}
    if unknown := [name for name in symbols if name not in canonical]:
        raise SeriesError(f"{exchange} has no {', '.join(unknown)} in the symbols file: see `medallion symbols build`")
    return [Question(series, start, end, exchange, canonical[name], name, frame) for name in symbols]
