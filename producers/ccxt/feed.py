"""Reads the trades of a ccxt exchange: from its streams, or over REST if ccxt has no stream of it."""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import ccxt
import structlog

from config.errors import MedallionError
from config.process.retry import retry_until
from config.symbols.markets import Markets
from producers.ccxt.polling import CcxtPolling
from producers.ccxt.rest_calls import UNFORESEEN
from producers.ccxt.rest_trades import RestTrades
from producers.ccxt.stream import CcxtStream
from producers.ccxt.venue import ConnectionListener, class_of, make
from producers.ccxt.watched import WatchedSymbols
from producers.exchanges.model import UNRECOGNISED, Exchange, Rate, RestError
from producers.stream.context import StreamContext
from producers.stream.rotation import Rotation
from producers.stream.symbol_states import SymbolState, SymbolStatus
from producers.venue_limits import VenueUnavailableError

# ccxt does not know at which age an exchange closes a connection. Exchanges that close connections do so after a day.
_LIFETIME_S = 86_400.0
_POLL_S = 1.0
_LEAST_POLL_S = 0.01
# Errors of a request for markets after which it is sent again.
_REST_FAILURES = (RestError, VenueUnavailableError)
_log = structlog.get_logger(__name__)


class UnknownSymbolError(MedallionError, LookupError):
    """The exchange has no such market."""


class MarketsMissingError(MedallionError):
    """No list of markets is given, and REST may not be used to request one."""


def exchange_named(name: str) -> Exchange | None:
    """The description of a ccxt exchange; None if ccxt does not know the name, or has no public trades of it."""
    if name not in ccxt.exchanges:
        return None
    known = class_of(name)()
    if not (known.has.get("watchTrades") or known.has.get("fetchTrades")):
        return None
    # ccxt does not say how many connections an exchange allows, or whether its ids are consecutive.
    return Exchange(
        name,
        "",
        lambda _frame: UNRECOGNISED,
        lambda _symbols, _number: "",
        connects=Rate(5, 5.0),
        lifetime_s=_LIFETIME_S,
        ids_of=None,
        requests=Rate(1, max(float(known.rateLimit), 1.0) / 1_000),
    )


class CcxtFeed:
    """Reads the symbols of one exchange. Use it inside `async with feed.rest`."""

    def __init__(self, context: StreamContext, symbols: Sequence[str], markets: Markets | None = None) -> None:
        """Connects nothing yet.

        Args:
            context: of an exchange from `exchange_named`. Its endpoints replace scheme and host in all URLs.
            symbols: ccxt's unified symbols: `BTC/USDT`, `BTC/USDT:USDT`.
            markets: from ccxt's `fetch_markets()`; None to request them from the exchange.

        Raises:
            MarketsMissingError: `markets` is None, and REST may not be used.
        """
        exchange, options = context.exchange, context.options
        self._context, self._symbols = context, symbols
        if markets is None and not context.asks_rest:
            raise MarketsMissingError(
                f"{exchange.code} may not be asked for its markets: give --rest-endpoint beside --endpoint,"
                " or a saved list with --markets"
            )
        self._markets = markets
        # Symbols that the exchange lists. A stream with other symbols is replaced.
        self._listed = [*symbols]
        # For each symbol that is not listed, the message about it.
        self._unlisted: dict[str, str] = {}
        # The instance for REST, used for the whole life of the feed. Each stream has its own instance.
        self._venue = _venue_of(context)
        self.rest = RestTrades(exchange.code, self._venue, context.venue_limits)
        # If a rate limit is given, it alone sets the pace.
        pause_s = max(_POLL_S, self._venue.rateLimit / 1_000) if options.requests is None else _LEAST_POLL_S
        self._source: Rotation[CcxtStream] | CcxtPolling = (
            Rotation(partial(_new_stream, context, self._listed, self._venue, self.rest), context.count_rotation)
            if self._venue.has.get("watchTrades")
            else CcxtPolling(self.rest, context, self._listed, pause_s)
        )
        self._log = _log.bind(exchange=exchange.code)

    @property
    def heals(self) -> bool:
        """Whether trades may be requested from `rest`."""
        return self._context.asks_rest and bool(self._venue.has.get("fetchTrades"))

    @property
    def ready(self) -> bool:
        """Whether every symbol is watched, as far as ccxt can tell."""
        return self._source.ready

    @property
    def symbols(self) -> Sequence[str]:
        """ccxt's unified symbols."""
        return self._symbols

    def statuses(self) -> dict[str, SymbolStatus]:
        """The status of each symbol."""
        source = self._source.current if isinstance(self._source, Rotation) else self._source
        listed = source.statuses() if source is not None else {}
        missing = {symbol: SymbolStatus(SymbolState.REFUSED, words) for symbol, words in self._unlisted.items()}
        unknown = dict.fromkeys(self._symbols, SymbolStatus(SymbolState.SUBSCRIBING))
        return unknown | listed | missing

    def unknown(self, symbol: str, words: str) -> None:
        """Do nothing: a ccxt class itself reports a refused symbol (see `ReconnectingStream.unknown`)."""

    def rotate(self) -> None:
        """Replace the connections as at the end of their lifetime, unless they have just been replaced."""
        if isinstance(self._source, Rotation):
            self._source.rotate()

    async def run(self, stop: asyncio.Event) -> None:
        """Read trades until `stop` is set.

        Without one market, the others are read. The list of markets is requested again while one is missing.

        Raises:
            UnknownSymbolError: the exchange has none of the markets.
            DeliveryError: the publisher cannot go on.
        """
        again = retry_until(
            stop, _REST_FAILURES, self._context.options.back_off_s, self._log, "requesting markets again"
        )
        await again(self._load)
        if stop.is_set():
            return
        if not self._listed:
            raise UnknownSymbolError("; ".join(self._unlisted.values()))
        reloading = asyncio.ensure_future(self._reload_while_unlisted())
        try:
            await self._source.run(stop)
        finally:
            reloading.cancel()
            await asyncio.gather(reloading, return_exceptions=True)

    async def _reload_while_unlisted(self) -> None:
        """Request the list of markets again while symbols are missing. A given list stays as it is."""
        while self._unlisted and self._markets is None:
            await asyncio.sleep(self._context.options.refused_s)
            try:
                await self._load()
            except _REST_FAILURES as error:
                self._log.warning("no list of markets, trying again later", error=str(error) or type(error).__name__)

    async def _load(self) -> None:
        try:
            if self._markets is not None:
                self._venue.set_markets([*self._markets])
            else:
                async with self._context.venue_limits.requesting():
                    await self._venue.load_markets(reload=True)
        except (ccxt.BaseError, *UNFORESEEN) as error:
            raise RestError(f"{type(error).__name__}: {error}") from error
        markets = self._venue.markets
        before = {*self._unlisted}
        self._unlisted = {symbol: self._no_market(symbol, markets) for symbol in self._symbols if symbol not in markets}
        for symbol in self._unlisted.keys() - before:
            self._log.error("symbol refused", symbol=symbol, words=self._unlisted[symbol])
        self._listed[:] = [symbol for symbol in self._symbols if symbol in markets]
        if isinstance(self._source, CcxtPolling):
            self._source.watch(self._listed)
        # Keep only these markets: a large exchange's list takes tens of MB.
        self._venue.set_markets([markets[symbol] for symbol in self._listed])

    def _no_market(self, symbol: str, markets: Collection[str]) -> str:
        similar = difflib.get_close_matches(symbol, markets, 3, 0.4)
        return (
            f"{self._context.exchange.code} has no market {symbol!r}; use ccxt's unified symbols"
            f" (like {', '.join(similar or [*markets][:3])})"
        )


def _venue_of(context: StreamContext, listener: ConnectionListener | None = None) -> Any:
    code, open_s = context.exchange.code, context.options.open_s
    return make(code, context.venue_limits, open_s, context.endpoint, context.rest_endpoint, listener)


def _new_stream(context: StreamContext, listed: list[str], known: Any, rest: RestTrades) -> CcxtStream:
    """A stream with its own instance of ccxt's class, and the markets of the `known` instance."""
    watched = WatchedSymbols(context, {symbol: str(known.markets[symbol].get("id") or symbol) for symbol in listed})
    venue = _venue_of(context, watched)
    venue.set_markets_from_exchange(known)
    return CcxtStream(venue, watched, context, listed, rest)
