"""The symbols of one ccxt stream: which of them bring trades, which the exchange refuses, and when all are ready."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence

import ccxt
import structlog

from producers import metrics
from producers.exchanges.model import Trade
from producers.stream.context import StreamContext
from producers.stream.subscriptions import named_in
from producers.stream.symbol_states import SymbolState, SymbolStatus, SymbolStatuses

_log = structlog.get_logger(__name__)


class WatchedSymbols:
    """The symbols of one stream, from its first connection to its end. The listener of the stream's connections."""

    def __init__(self, context: StreamContext, ids: Mapping[str, str]) -> None:
        """`ids` has the exchange symbol of each unified symbol."""
        self.ready = asyncio.Event()
        # Set when the stream is to end. A connection that closes afterwards is no loss.
        self.end = asyncio.Event()
        self._context, self._ids = context, dict(ids)
        self._statuses = SymbolStatuses(self._ids, context.options.silent_s)
        # For each symbol, since when it is watched (monotonic clock, s). A symbol whose watch failed is not in it.
        self._since_s: dict[str, float] = {}
        self._flowing: set[str] = set()
        self._log = _log.bind(exchange=context.exchange.code)

    @property
    def symbols(self) -> list[str]:
        """ccxt's unified symbols."""
        return [*self._ids]

    def statuses(self) -> dict[str, SymbolStatus]:
        """The status of each symbol."""
        return self._statuses.now(time.monotonic())

    def is_refused(self, symbol: str) -> bool:
        """Whether the exchange refuses the symbol."""
        return self._statuses.state(symbol) is SymbolState.REFUSED

    def opened(self) -> None:
        """Count an open connection."""
        self._context.counters.connections += 1

    def closed(self, cause: str, detail: str, *, was_open: bool) -> None:
        """Record that a connection was lost or could not be opened."""
        if self.end.is_set():
            return
        self._context.counters.disconnects[cause] += 1
        metrics.DISCONNECTS.labels(self._context.exchange.code, cause).inc()
        self._log.warning("connection lost", cause=cause, error=detail)
        if was_open:
            # ccxt does not say which symbols the connection had.
            self._fail(self.symbols)

    def rejected(self, error: object) -> list[list[str]]:
        """Record a refusal by the exchange. Returns the names of each symbol that it refuses."""
        refused = [symbol for symbol in self._ids if self._is_refusal(error, symbol)]
        for symbol in refused:
            self._statuses.refused(symbol, str(error))
        return [self._names(symbol) for symbol in refused]

    def observe(self, trades: Sequence[Trade]) -> None:
        """Record trades that the stream brought."""
        self._statuses.observe(trades)

    def begin(self, symbol: str) -> None:
        """Record that a symbol is watched from now on."""
        self._since_s[symbol] = time.monotonic()

    def flows(self, symbol: str) -> bool:
        """Record that a symbol brings trades. Returns whether these are its first ones."""
        if symbol in self._flowing:
            return False
        self._flowing.add(symbol)
        self._context.losses.resumed([symbol])
        return True

    def failed(self, symbol: str, error: BaseException) -> bool:
        """Record that watching a symbol failed. Returns whether the exchange refuses it."""
        words = str(error) or type(error).__name__
        self._log.warning("not watched", symbol=symbol, error=words)
        if symbol in self._flowing:
            self._fail([symbol])
        self._since_s.pop(symbol, None)
        self.ready.clear()
        if self._is_refusal(error, symbol):
            self._statuses.refused(symbol, words)
            return True
        self._statuses.unanswered(symbol, f"not watched: {words}")
        return False

    def update_ready(self, age_s: float) -> None:
        """Set `ready` when every symbol has brought a trade, or has been watched so long that it must be a quiet one.

        `age_s` is the age of the oldest open connection; 0 if none is open.
        """
        if self.ready.is_set() or not age_s:
            return
        ready_s = self._context.options.ready_s
        now_s, is_settled = time.monotonic(), age_s > ready_s
        wanted = [symbol for symbol in self._ids if not self.is_refused(symbol)]
        quiet = [symbol for symbol in wanted if symbol not in self._flowing]
        if wanted and all(is_settled and now_s - self._since_s.get(symbol, now_s) > ready_s for symbol in quiet):
            self.ready.set()
            for symbol in quiet:
                self._statuses.acknowledged(symbol, now_s)
            self._context.losses.resumed(quiet)

    def _is_refusal(self, error: object, symbol: str) -> bool:
        """Whether the error is about this symbol. ccxt often fails all symbols with the error of one."""
        return isinstance(error, ccxt.ExchangeError) and bool(named_in(str(error), self._names(symbol)))

    def _names(self, symbol: str) -> list[str]:
        return [symbol, self._ids[symbol]]

    def _fail(self, symbols: Sequence[str]) -> None:
        self._statuses.lost(symbols)
        self._flowing.difference_update(symbols)
        self.ready.clear()
        self._context.losses.lost(symbols)
