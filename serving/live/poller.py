"""Reads changes from ClickHouse and publishes them: one query for all clients, and only while a client listens."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from serving import metrics
from serving.errors import ApiError
from serving.live.hub import Hub
from serving.live.messages import kline_update, mini_ticker_update, trade_update
from serving.live.streams import Stream
from serving.market_data.candles import Candles, Market
from serving.market_data.hot_reader import HotReader, Row
from serving.market_data.intervals import Interval
from serving.market_data.tickers import tickers

PERIOD_S = 0.1
_AFTER_AN_ERROR_S = 1.0
# A trade that is older than the market's newest one by more than this is seen only with the market's next trade.
_LATE_MS = 60_000
_DAY_S = 86_400
_DAY_MS = 86_400_000
# Silver's workers insert side by side: a row may become visible after a row with a later `validated_at`.
_OVERLAP_US = 2_000_000
_REMEMBERED_S = 30.0
_MOST_CANDLES = 2_000
_MOST_TRADES = 50_000
_TICKER_PERIOD_S = 1.0
_CLOSING_PERIOD_S = 0.5

log = structlog.get_logger(__name__)


@dataclass
class _Followed:
    """A market with a listener.

    `newest`: time of its newest trade (ms). `validated`: newest `validated_at` (µs). `seen`: the row of
    `sql/changes.sql` at the last change.
    """

    newest: int
    validated: int = 0
    seen: tuple[int, int, int] | None = None


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


@dataclass
class _Trades:
    """Trades that were published in the last `_REMEMBERED_S`, by market and id, and when (s, monotonic)."""

    sent: dict[tuple[Market, str], float] = field(default_factory=dict)

    def fresh(self, rows: Iterable[Row]) -> list[Row]:
        """The trades that were not published before; they count as published from now on."""
        now = time.monotonic()
        self.sent = {key: at for key, at in self.sent.items() if now - at < _REMEMBERED_S}
        fresh = [row for row in rows if ((row["exchange"], row["symbol"]), row["trade_id"]) not in self.sent]
        self.sent |= {((row["exchange"], row["symbol"]), row["trade_id"]): now for row in fresh}
        return fresh


class Poller:
    """Follows the markets that have a listener."""

    def __init__(self, reader: HotReader, candles: Candles, hub: Hub) -> None:
        self._reader = reader
        self._candles = candles
        self._hub = hub
        self._markets: dict[Market, _Followed] = {}
        self._states: dict[Stream, _Candle] = {}
        self._trades = _Trades()
        self._trading: set[Market] = set()
        self._tickers_at: dict[Stream, float] = {}
        self._stale_tickers: set[Market] = set()

    async def run(self) -> None:
        """Look every `PERIOD_S` until cancelled."""
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
            await asyncio.sleep(max(0.0, started + pause - time.monotonic()))

    async def look(self) -> None:
        """Query once, and publish the changes.

        Raises:
            ApiError: ClickHouse does not answer.
        """
        streams = self._hub.streams
        self._forget(streams)
        await self._follow({stream.market for stream in streams})
        changed = await self._changed()
        by_kind = defaultdict(list)
        for stream in streams:
            by_kind[stream.kind].append(stream)
        await self._look_for_trades(by_kind["trade"], changed)
        await self._look_for_candles(by_kind["kline"], set(changed))
        await self._look_for_tickers(by_kind["miniTicker"], set(changed))
        self._hub.mark_followed(streams)

    def _forget(self, streams: list[Stream]) -> None:
        listened, markets = set(streams), {stream.market for stream in streams}
        self._markets = {market: followed for market, followed in self._markets.items() if market in markets}
        self._states = {stream: state for stream, state in self._states.items() if stream in listened}
        self._tickers_at = {stream: at for stream, at in self._tickers_at.items() if stream in listened}
        self._trading &= {stream.market for stream in streams if stream.kind == "trade"}
        self._stale_tickers &= markets

    async def _follow(self, markets: set[Market]) -> None:
        added = markets - self._markets.keys()
        if not added:
            return
        rows = await self._reader.rows("newest", {"exchanges": sorted({exchange for exchange, _ in added})})
        newest = {(row["exchange"], row["symbol"]): row["last_time"] for row in rows}
        self._markets |= {market: _Followed(newest.get(market, 0)) for market in added}

    async def _changed(self) -> dict[Market, tuple[int, int]]:
        """The markets with new trades, and from where to read these: time of the trade (ms), `validated_at` (µs)."""
        if not self._markets:
            return {}
        rows = await self._each_day(
            "changes", {market: max(0, known.newest - _LATE_MS) for market, known in self._markets.items()}, {}
        )
        changed = {}
        for row in rows:
            market = (row["exchange"], row["symbol"])
            followed = self._markets[market]
            seen = (row["trade_count"], row["newest"], row["validated"])
            if seen != followed.seen:
                changed[market] = (max(0, followed.newest - _LATE_MS), followed.validated or row["validated"])
            followed.seen = seen
            followed.newest, followed.validated = max(followed.newest, row["newest"]), row["validated"]
        return changed

    async def _each_day(self, name: str, since: Mapping[Market, int], parameters: Mapping[str, object]) -> list[Row]:
        """Query the markets in groups by the day of `since` (ms), so that a long quiet market does not slow others."""
        groups: dict[int, list[Market]] = defaultdict(list)
        for market, at in since.items():
            groups[at // _DAY_MS].append(market)
        answers = await self._reader.gather(
            *(
                self._reader.rows(
                    name, {"markets": sorted(group), "since": min(since[market] for market in group), **parameters}
                )
                for group in groups.values()
            )
        )
        return [row for answer in answers for row in answer]

    async def _look_for_trades(self, streams: list[Stream], changed: Mapping[Market, tuple[int, int]]) -> None:
        by_market = defaultdict(list)
        for stream in streams:
            by_market[stream.market].append(stream)
        added = by_market.keys() - self._trading
        due = {market: changed[market] for market in by_market if market in changed}
        for market in added - due.keys():
            followed = self._markets[market]
            due[market] = (max(0, followed.newest - _LATE_MS), followed.validated)
        if not due:
            return
        validated = max(0, min(at for _, at in due.values()) - _OVERLAP_US)
        since = {market: start for market, (start, _) in due.items()}
        rows = await self._each_day("new_trades", since, {"validated": validated, "limit": _MOST_TRADES})
        now = int(time.time() * 1000)
        for row in self._trades.fresh(rows):
            market = (row["exchange"], row["symbol"])
            # Trades from before the first client came are not sent.
            for stream in by_market[market] if market not in added else ():
                self._hub.publish(stream, trade_update(stream.name, row, now))
        self._trading |= added

    async def _look_for_candles(self, streams: list[Stream], changed: set[Market]) -> None:
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
        rows = await self._candles.rows(interval, markets, _MOST_CANDLES, (after + 1) * 1000, with_state=True)
        by_market: dict[Market, list[Row]] = defaultdict(list)
        for row in rows:
            by_market[row["exchange"], row["symbol"]].append(row)
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

    async def _look_for_tickers(self, streams: list[Stream], changed: set[Market]) -> None:
        self._stale_tickers |= changed
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
