"""The names of streams: Binance's (`btcusdt@kline_1m`, `btcusdt@miniTicker`, `btcusdt@trade`), and channels, which
name their exchange (`binance:spot:ohlcv:1m:BTC-USDT`, `kraken:spot:ticker:BTC-USD`, `binance:usdm:trades:BTC-USDT`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from config.errors import MedallionError
from serving.market_data.candles import Market
from serving.market_data.intervals import INTERVALS, Interval
from serving.market_data.markets import Markets

_KLINE = "kline_"
_SPOT = "spot"


class StreamError(MedallionError):
    """There is no such stream, or a request is invalid. `code` is Binance's."""

    def __init__(self, message: str, code: int = 2) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Stream:
    """A market's trades, its candles of `interval`, or its last 24 hours, under the name that the client gave."""

    name: str
    market: Market
    kind: Literal["kline", "trade", "miniTicker"]
    interval: Interval | None = None


def parse(name: str, exchange: str, markets: Markets) -> Stream:
    """A stream by its name. `exchange`: the exchange of a name without one.

    Raises:
        StreamError: there is no such market or stream.
    """
    return _channel(name, markets) if ":" in name else _stream(name, exchange, markets)


def _stream(name: str, exchange: str, markets: Markets) -> Stream:
    symbol, _, kind = name.partition("@")
    market = _market(exchange, symbol.upper(), markets)
    if kind == "trade":
        return Stream(name, market, "trade")
    if kind == "miniTicker":
        return Stream(name, market, "miniTicker")
    if kind.startswith(_KLINE) and kind.removeprefix(_KLINE) in INTERVALS:
        return Stream(name, market, "kline", INTERVALS[kind.removeprefix(_KLINE)])
    raise StreamError(f"Invalid request: {kind[:100]!a} is none of kline_<interval>, miniTicker, trade.")


def _channel(name: str, markets: Markets) -> Stream:
    match name.split(":"):
        case [venue, kind, "ohlcv", interval, pair] if interval in INTERVALS:
            return Stream(name, _pair(venue, kind, pair, markets), "kline", INTERVALS[interval])
        case [venue, kind, "trades", pair]:
            return Stream(name, _pair(venue, kind, pair, markets), "trade")
        case [venue, kind, "ticker", pair]:
            return Stream(name, _pair(venue, kind, pair, markets), "miniTicker")
    raise StreamError(
        f"Invalid request: {name[:100]!a} is none of <exchange>:<spot|usdm|linear …>:ohlcv:<interval>:<BASE>-<QUOTE>, "
        "…:trades:<BASE>-<QUOTE>, …:ticker:<BASE>-<QUOTE>."
    )


def _pair(venue: str, kind: str, pair: str, markets: Markets) -> Market:
    """The market of a channel. `kind` spot: `venue` is the exchange code. A suffix of `pair` is part of the symbol."""
    base, _, rest = pair.upper().partition("-")
    quote, dash, suffix = rest.partition("-")
    market = _market(venue if kind == _SPOT else f"{venue}_{kind}", f"{base}{quote}{dash}{suffix}", markets)
    entry = markets.entry(*market)
    if (entry.base, entry.quote) != (base, quote):
        raise StreamError(f"Invalid request: write {pair[:100]!a} as {entry.base}-{entry.quote}.")
    return market


def _market(exchange: str, symbol: str, markets: Markets) -> Market:
    if symbol not in markets.names(exchange):
        raise StreamError(f"Invalid request: {exchange[:100]!a} has no market {symbol[:100]!a}.")
    return exchange, symbol
