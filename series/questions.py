"""Opens providers by name, and makes the question of each market of a run."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime

from config.registry import SymbolRegistry
from config.settings import Settings
from producers.backfill.dumps import URL
from series.declaration import Series
from series.errors import SeriesError
from series.providers import alpaca, polygon, yahoo
from series.providers.alternative_me import AlternativeMe
from series.providers.binance_dumps import BinanceDumps
from series.providers.equity_bars import EquityBars
from series.providers.model import Provider, Question

BINANCE = "binance"


def _ccxt(exchange: str, _source: str, address: str | None, _settings: Settings) -> Provider:
    """Imports ccxt only here: it takes 80 MB and a second, which schedules without an exchange do not need."""
    from series.providers.ccxt_rest import CcxtRest  # noqa: PLC0415

    return CcxtRest(exchange, address)


# By the name in the declarations: a function of exchange, source, REST address and settings that opens the provider.
PROVIDERS: dict[str, Callable[[str, str, str | None, Settings], Provider]] = {
    BINANCE: lambda _exchange, source, _address, _settings: BinanceDumps(source),
    "ccxt": _ccxt,
    polygon.NAME: lambda _exchange, _source, address, settings: EquityBars(polygon.Polygon(settings, address)),
    alpaca.NAME: lambda _exchange, _source, address, settings: EquityBars(alpaca.Alpaca(settings, address)),
    yahoo.NAME: lambda _exchange, _source, address, _settings: EquityBars(yahoo.Yahoo(address)),
    "alternative_me": lambda _exchange, _source, address, _settings: AlternativeMe(address),
}
DEFAULT_SOURCE = URL
# Symbols that need no escape in the path of an address. `^GSPC` and `EURUSD=X` are Yahoo's.
_TICKER = re.compile(r"[A-Za-z0-9.^=_-]{1,32}")


def open_provider(name: str, exchange: str, source: str, rest_endpoint: str | None, settings: Settings) -> Provider:
    """A provider by its name; the caller closes it.

    Args:
        name: one of `PROVIDERS`.
        exchange: whose markets; our code, or ccxt's name.
        source: folder or URL of Binance's files.
        rest_endpoint: replaces the address of the provider's REST interface.
        settings: has the API keys of providers that need one.

    Raises:
        SeriesError: there is no such provider; ccxt does not know the exchange; a key or a client library is missing.
    """
    if name not in PROVIDERS:
        raise SeriesError(f"no provider {name!r}: name one of {', '.join(PROVIDERS)} in the series' file")
    return PROVIDERS[name](exchange, source, rest_endpoint, settings)


def default_exchange(series: Series, provider: str) -> str:
    """The exchange code of a request that names none."""
    return provider if provider in series.in_sessions else BINANCE


def questions_of(
    series: Series,
    registry: SymbolRegistry,
    exchange: str,
    symbols: Sequence[str],
    frame: str,
    start: datetime,
    end: datetime,
) -> list[Question]:
    """A question for each of the exchange's own `symbols`; a single one if the series is of no market.

    A symbol of an exchange that trades in sessions is stored as the provider writes it.

    Raises:
        SeriesError: the symbols file does not have a symbol, or a symbol has characters that no symbol has.
    """
    frame = frame if series.frame else ""
    if "symbol" not in series.key:
        return [Question(series, start, end, frame=frame)]
    if exchange in series.in_sessions:
        if odd := [name for name in symbols if not _TICKER.fullmatch(name)]:
            raise SeriesError(f"{', '.join(odd)}: no symbol of {exchange}; give letters, digits and . - _ ^ =")
        return [Question(series, start, end, exchange, name, name, frame) for name in symbols]
    markets = registry.content.exchanges.get(exchange, {})
    canonical = {own: entry.canonical for name, entry in markets.items() for own in (name, *entry.aliases)}
    if unknown := [name for name in symbols if name not in canonical]:
        raise SeriesError(f"{exchange} has no {', '.join(unknown)} in the symbols file: see `medallion symbols build`")
    return [Question(series, start, end, exchange, canonical[name], name, frame) for name in symbols]
