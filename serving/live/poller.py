"""Reads changes from ClickHouse and publishes them: one query for all clients, and only while a client listens."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import structlog

from serving import metrics
from serving.errors import ApiError
from serving.live.hub import Hub
from serving.live.messages import kline_update, mini_ticker_update, trade_update
from serving.live.new_trades import NewTrades
from serving.live.streams import Stream
from serving.market_data.candles import Candles, Market, mark_closed
from serving.market_data.hot_reader import HotReader, Row
from serving.market_data.intervals import Interval
from serving.market_data.tickers import tickers

PERIOD_S = 0.05
_AFTER_AN_ERROR_S = 1.0
_DAY_S = 86_400
_MOST_CANDLES = 2_000
_TICKER_PERIOD_S = 1.0
_CLOSING_PERIOD_S = 0.5

log = structlog.get_logger(__name__)


@dataclass
class _Followed:
    """A market with a listener.

    `newest`: time of its newest trade when its last listener came (ms). `state`: the row of `sql/changes.sql` at the
    last look; None before the first one.
    """

    newest: int
    state: Row | None = None


@dataclass
class _Candle:
    """The state of a stream of candles.

    `closed`: start of the last candle that is done (s). `due`: when the open candle may be closed (s), 0: unknown.
    `sent`: the open candle as it was sent last. `is_new`: nothing has been read for the stream yet.
    """

    closed: int
    due: float = 0.0
    sent: Row | None = None
    is_new: bool = True


class Poller:
    """Follows the markets that have a listener."""

    def __init__(self, reader: HotReader, candles: Candles, hub: Hub) -> None:
        self._reader = reader
        self._candles = candles
        self._hub = hub
        self._markets: dict[Market, _Followed] = {}
        self._states: dict[Stream, _Candle] = {}
        self._new_trades = NewTrades(reader)
        self._tickers_at: dict[Stream, float] = {}
        self._stale_tickers: set[Market] = set()

    async def run(self) -> None:
        """Look every `PERIOD_S` until cancelled. Looks take at most two thirds of the time."""
        while True:
            await self._hub.somebody()
            started = time.monotonic()
            pause = PERIOD_S
            try:
                await self.look()
            except ApiError as error:
                metrics.POLL_ERRORS.inc()
                log.warning("no look for changes", error=str(error))
                pause = _AFTER_AN_ERROR_S
            took = time.monotonic() - started
            # Looks slow down the ClickHouse that they wait for.
            await asyncio.sleep(max(pause - took, took / 2))

    async def look(self) -> None:
        """Query once, and publish the changes.

        While clients want the trades of busy markets only, these are read without asking what has changed.

        Raises:
            ApiError: ClickHouse does not answer.
        """
        streams = self._hub.streams
        self._forget(streams)
        by_kind = defaultdict(list)
        for stream in streams:
            by_kind[stream.kind].append(stream)
        await self._follow(streams)
        busy = self._new_trades.busy
        is_all_busy = all(stream.kind == "trade" and stream.market in busy for stream in streams)
        changed = {} if is_all_busy else await self._changed()
        await self._look_for_trades(by_kind["trade"], changed, busy if is_all_busy else changed.keys())
        await self._look_for_candles(by_kind["kline"], changed)
        await self._look_for_tickers(by_kind["miniTicker"], changed)
        for market, state in changed.items():
            self._markets[market].state = state
        self._hub.mark_followed(streams)

    def _forget(self, streams: list[Stream]) -> None:
        """Forget the streams without a listener, also those that have a new one since: it begins anew."""
        listened = {stream for stream in streams if self._hub.is_followed(stream)}
        markets = {stream.market for stream in streams}
        self._markets = {market: followed for market, followed in self._markets.items() if market in markets}
        self._states = {stream: state for stream, state in self._states.items() if stream in listened}
        self._tickers_at = {stream: at for stream, at in self._tickers_at.items() if stream in listened}
        self._new_trades.keep({stream.market for stream in listened if stream.kind == "trade"})
        self._stale_tickers &= markets

    async def _follow(self, streams: list[Stream]) -> None:
        """Look up the newest trade of markets with a new listener of trades or candles."""
        added = {
            stream.market
            for stream in streams
            if stream.market not in self._markets
            or (stream.kind == "kline" and stream not in self._states)
            or (stream.kind == "trade" and stream.market not in self._new_trades.markets)
        }
        if not added:
            return
        rows = await self._reader.rows("newest", {"exchanges": sorted({exchange for exchange, _ in added})})
        newest = {(row["exchange"], row["symbol"]): row["last_time"] for row in rows}
        for market in added:
            self._markets.setdefault(market, _Followed(0)).newest = newest.get(market, 0)

    async def _changed(self) -> dict[Market, Row]:
        """The state of each market that has changed since the last look, or that is looked at first."""
        if not self._markets:
            return {}
        # Every trade changes the candle of its day. The days of the newest trades are few rows, whatever the rate.
        since = min(known.newest for known in self._markets.values()) // 1000 // _DAY_S * _DAY_S
        rows = await self._reader.rows("changes", {"markets": sorted(self._markets), "since": since})
        states = {(row["exchange"], row["symbol"]): row for row in rows}
        now = {market: states.get(market, known.state or {}) for market, known in self._markets.items()}
        return {market: state for market, state in now.items() if state != self._markets[market].state}

    async def _look_for_trades(
        self, streams: list[Stream], changed: Mapping[Market, Row], due: Collection[Market]
    ) -> None:
        by_market = defaultdict(list)
        for stream in streams:
            by_market[stream.market].append(stream)
        now = int(time.time() * 1000)
        for row in await self._new_trades.read(due):
            for stream in by_market[row["exchange"], row["symbol"]]:
                self._hub.publish(stream, trade_update(stream.name, row, now))
        # Trades from before the first client came are not sent.
        added = by_market.keys() - self._new_trades.markets
        states = {market: changed.get(market) or self._markets[market].state or {} for market in added}
        await self._new_trades.follow(
            {market: (self._markets[market].newest, state.get("validated", 0)) for market, state in states.items()}
        )

    async def _look_for_candles(self, streams: list[Stream], changed: Mapping[Market, Row]) -> None:
        now = time.time()
        groups: dict[tuple[Interval, int], list[Stream]] = defaultdict(list)
        for stream in streams:
            assert stream.interval is not None
            if stream not in self._states:
                newest = self._markets[stream.market].newest // 1000
                self._states[stream] = _Candle(stream.interval.start(newest) - 1)
            state = self._states[stream]
            if state.is_new or stream.market in changed or 0 < state.due <= now:
                # In groups by day, so that a long quiet market does not make the others' results long.
                groups[stream.interval, state.closed // _DAY_S].append(stream)
        for (interval, _), group in groups.items():
            await self._publish_candles(interval, group)

    async def _publish_candles(self, interval: Interval, streams: list[Stream]) -> None:
        after = min(self._states[stream].closed for stream in streams)
        markets = sorted({stream.market for stream in streams})
        rows = await self._candles.rows(interval, markets, _MOST_CANDLES, (after + 1) * 1000, with_state=False)
        by_market: dict[Market, list[Row]] = defaultdict(list)
        for row in rows:
            by_market[row["exchange"], row["symbol"]].append(row)
        now = time.time()
        for of_market in by_market.values():
            mark_closed(interval, of_market, now)
        await self._candles.add_buyers(interval, [row for row in rows if row["is_closed"]])
        for stream in streams:
            self._publish_candles_of(stream, interval, by_market[stream.market])
            if len(rows) == _MOST_CANDLES:
                self._states[stream].due = 1.0  # In the past: there are more candles to read at once.

    def _publish_candles_of(self, stream: Stream, interval: Interval, rows: list[Row]) -> None:
        state, now = self._states[stream], time.time()
        state.due = 0.0
        for row in (row for row in rows if row["opened"] > state.closed):
            # A candle that was closed before the first client came is not sent.
            if row != state.sent and not (state.is_new and row["is_closed"]):
                self._hub.publish(stream, kline_update(stream.name, interval, row, int(now * 1000)))
            if row["is_closed"]:
                state.closed = row["opened"]
            else:
                state.sent = row
                state.due = max(interval.end(row["opened"]), now + _CLOSING_PERIOD_S)
                break
        state.is_new = False

    async def _look_for_tickers(self, streams: list[Stream], changed: Mapping[Market, Row]) -> None:
        self._stale_tickers |= changed.keys()
        now = time.monotonic()
        due = [
            stream
            for stream in streams
            if stream not in self._tickers_at
            or (stream.market in self._stale_tickers and now - self._tickers_at[stream] >= _TICKER_PERIOD_S)
        ]
        if not due:
            return
        rows = await tickers(self._reader, sorted({stream.market[0] for stream in due}))
        by_market = {(row["exchange"], row["symbol"]): row for row in rows}
        for stream in due:
            self._tickers_at[stream] = now
            self._stale_tickers.discard(stream.market)
            if stream.market in by_market:
                update = mini_ticker_update(stream.name, by_market[stream.market], int(time.time() * 1000))
                self._hub.publish(stream, update)
