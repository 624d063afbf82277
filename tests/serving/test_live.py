"""Every trade that comes while somebody listens is in one message, and every change of a candle in one."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from config.settings import Settings
from serving.errors import ApiError
from serving.live import new_trades
from serving.live.hub import Hub, Outbox
from serving.live.messages import Update
from serving.live.poller import Poller
from serving.live.streams import Stream
from serving.market_data.candles import Candles, mark_closed
from serving.market_data.hot_reader import HotReader, Row
from serving.market_data.intervals import INTERVALS
from tests.offload.hot_tables import HotTables, silver_rows

NOW = datetime.now(UTC).replace(microsecond=0)
SYMBOLS = ("BTCUSD", "ETHUSD", "SOLUSD")
EARLY, LATE = [("kraken", symbol) for symbol in SYMBOLS[:2]], ("kraken", SYMBOLS[2])


def insert(hot: HotTables, number: int, ids: range, validated: datetime, *, times: list[datetime]) -> pl.DataFrame:
    """One insert of trades with these ids and times, of all symbols in turn; what was inserted."""
    rows = [
        {"exchange": "kraken", "symbol": SYMBOLS[one % 3], "trade_id": f"{one}", "side": "BUY", "offset": number * 1000}
        | {"price": "2.5", "qty": "1", "time": time, "arrived": validated}
        for one, time in zip(ids, times, strict=True)
    ]
    kinds: dict[str, Any] = {"time": pl.Datetime("us", "UTC"), "arrived": pl.Datetime("us", "UTC"), "offset": pl.UInt64}
    made = silver_rows(pl.DataFrame(rows, schema_overrides=kinds))
    hot.insert("silver_trades", made)
    return made


def ids(rows: list[Row] | pl.DataFrame) -> Counter[tuple[str, str]]:
    return Counter((row["symbol"], row["trade_id"]) for row in (rows if isinstance(rows, list) else rows.to_dicts()))


def run(settings: Settings, work: Callable[[HotReader], Coroutine[Any, Any, None]]) -> None:
    async def main() -> None:
        reader = Once(settings)
        try:
            await work(reader)
        finally:
            await reader.close()

    asyncio.run(main())


class Once(HotReader):
    """Fails at the next query of the name in `fails`, once. `asked`: the names of all queries."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.fails = ""
        self.asked: list[str] = []

    async def rows(self, name: str, parameters: Mapping[str, object], *, within: int = 10, **names: object) -> Any:
        self.asked.append(name)
        if name == self.fails:
            self.fails = ""
            raise ApiError(-1001, "ClickHouse does not answer.", 503)
        return await super().rows(name, parameters, within=within, **names)


# With 7 rows a query, some reads are one query and others are several.
@pytest.mark.parametrize("most", [pytest.param(50_000, marks=pytest.mark.nightly), 7])
def test_each_trade_is_read_once(
    settings: Settings, hot: HotTables, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Inserts have trades of several markets and of two days; a new worker's clock may be 1.9 s behind; one market is
    followed later, and one is long quiet. `most`: rows of a query."""
    monkeypatch.setattr(new_trades, "_MOST_ROWS", most)
    dice = random.Random(20261130)
    midnight = NOW.replace(hour=0, minute=0, second=0)
    before = insert(hot, 0, range(6), NOW, times=[midnight - timedelta(hours=3)] * 3 + [midnight] * 3)

    async def work(reader: HotReader) -> None:
        trades, found, expected = new_trades.NewTrades(reader), Counter[Any](), Counter[Any]()
        newest = int((midnight - timedelta(hours=3)).timestamp() * 1000)
        state = (newest, int(NOW.timestamp() * 1e6))
        await trades.follow(dict.fromkeys(EARLY, state))
        followed, clock, next_id = {*SYMBOLS[:2]}, NOW, 6
        for number in range(1, 40):
            clock += timedelta(milliseconds=dice.choice([80, 80, 80, 5_000]))
            of_worker = clock - timedelta(milliseconds=dice.choice([0, 1_900]))
            count = dice.randint(1, 5)
            times = [midnight + timedelta(milliseconds=dice.randint(-50, 50)) for _ in range(count)]
            come = insert(hot, number, range(next_id, next_id + count), of_worker, times=times)
            next_id += count
            expected += ids(come.filter(pl.col("symbol").is_in(list(followed))))
            if number == 20:
                known = (newest, int(clock.timestamp() * 1e6))
                await trades.follow({LATE: known})
                followed.add(LATE[1])
            if number < 30 and dice.random() < 0.7:
                found += ids(await trades.read([("kraken", symbol) for symbol in dice.sample(SYMBOLS, 3)]))
        found += ids(await trades.read([("kraken", symbol) for symbol in SYMBOLS]))
        for _ in range(30):
            found += ids(await trades.read([]))
        assert found == expected
        assert not found.keys() & ids(before).keys()

    run(settings, work)


async def waiting(outbox: Outbox) -> list[Update]:
    return [await outbox.take() for _ in range(len(outbox))]


def test_a_look_that_breaks_off_loses_and_doubles_nothing(settings: Settings, hot: HotTables) -> None:
    market = ("kraken", "BTCUSD")
    streams = [Stream("btcusd@trade", market, "trade"), Stream("btcusd@kline_1d", market, "kline", INTERVALS["1d"])]
    insert(hot, 0, range(1), NOW, times=[NOW])

    async def work(reader: HotReader) -> None:
        assert isinstance(reader, Once)
        hub, outbox = Hub(), Outbox()
        poller = Poller(reader, Candles(reader), hub)
        for stream in streams:
            hub.listen(stream, outbox)
        await poller.look()
        assert [update.data["e"] for update in await waiting(outbox)] == ["kline"]
        for number, fails in enumerate(("changes", "new_trades", "klines"), 1):
            insert(hot, number, range(number * 3, number * 3 + 1), NOW + timedelta(seconds=number), times=[NOW])
            reader.fails = fails
            with pytest.raises(ApiError):
                await poller.look()
            await poller.look()
            await poller.look()
            sent = await waiting(outbox)
            assert [update.data["t"] for update in sent if update.data["e"] == "trade"] == [number * 3]
            assert [update.data["k"]["n"] for update in sent if update.data["e"] == "kline"] == [1 + number]
        reader.asked.clear()
        await poller.look()
        assert reader.asked == ["changes"]  # whatever is listened to, a quiet look is one query

    run(settings, work)


def test_trades_of_busy_markets_are_read_without_asking_what_has_changed(settings: Settings, hot: HotTables) -> None:
    """A quiet market among them brings the question back, and no trade is lost or doubled either way."""
    old, new = NOW - timedelta(minutes=10), datetime.now(UTC)
    btc, sol = (Stream(f"{name.lower()}@trade", ("kraken", name), "trade") for name in ("BTCUSD", "SOLUSD"))
    insert(hot, 0, range(3), NOW, times=[new, new, old])

    async def work(reader: HotReader) -> None:
        assert isinstance(reader, Once)
        hub, outbox = Hub(), Outbox()
        poller = Poller(reader, Candles(reader), hub)

        async def look() -> tuple[list[str], list[int]]:
            reader.asked.clear()
            await poller.look()
            return reader.asked.copy(), [update.data["t"] for update in await waiting(outbox)]

        hub.listen(btc, outbox)
        await look()
        assert await look() == (["new_trades"], [])
        insert(hot, 1, range(3, 4), NOW + timedelta(seconds=1), times=[new])
        assert await look() == (["new_trades"], [3])
        hub.listen(sol, outbox)
        await look()
        assert await look() == (["changes"], [])
        insert(hot, 2, range(6, 9), NOW + timedelta(seconds=2), times=[new, new, old])
        asked, sent = await look()
        assert (set(asked), sorted(sent)) == ({"changes", "new_trades"}, [6, 8])
        hub.leave(sol, outbox)
        assert await look() == (["new_trades"], [])

    run(settings, work)


def test_a_client_that_comes_back_is_sent_nothing_of_the_time_between(settings: Settings, hot: HotTables) -> None:
    """Nobody listened meanwhile, so that nobody looked."""
    market = ("kraken", "BTCUSD")
    streams = [Stream("btcusd@trade", market, "trade"), Stream("btcusd@kline_1m", market, "kline", INTERVALS["1m"])]
    insert(hot, 0, range(1), NOW, times=[NOW - timedelta(minutes=10)])

    async def work(reader: HotReader) -> None:
        hub, outbox = Hub(), Outbox()
        poller = Poller(reader, Candles(reader), hub)
        for stream in streams:
            hub.listen(stream, outbox)
        await poller.look()
        await waiting(outbox)
        for stream in streams:
            hub.leave(stream, outbox)
        insert(hot, 1, range(3, 4), NOW + timedelta(seconds=1), times=[NOW - timedelta(minutes=5)])
        for stream in streams:
            hub.listen(stream, outbox)
        await poller.look()
        assert await waiting(outbox) == []
        insert(hot, 2, range(6, 7), NOW + timedelta(seconds=2), times=[NOW])
        await poller.look()
        sent = [update.data for update in await waiting(outbox)]
        assert [one["t"] if one["e"] == "trade" else one["k"]["n"] for one in sent] == [6, 1]

    run(settings, work)


def test_a_late_trade_changes_its_candle_at_once(settings: Settings, hot: HotTables) -> None:
    """It used to show with the market's next trade."""
    market, today = ("kraken", "BTCUSD"), NOW.replace(hour=0, minute=0, second=0)
    insert(hot, 0, range(1), NOW, times=[today + timedelta(hours=23, minutes=59)])

    async def work(reader: HotReader) -> None:
        hub, outbox = Hub(), Outbox()
        poller = Poller(reader, Candles(reader), hub)
        hub.listen(Stream("btcusd@kline_1d", market, "kline", INTERVALS["1d"]), outbox)
        await poller.look()
        await waiting(outbox)
        insert(hot, 1, range(3, 4), NOW, times=[today])
        await poller.look()
        assert [update.data["k"]["n"] for update in await waiting(outbox)] == [2]

    run(settings, work)


@pytest.mark.parametrize("code", ["1m", "1h", "1d"])
def test_a_live_candle_is_closed_when_the_view_says_so(settings: Settings, hot: HotTables, code: str) -> None:
    """The live streams do not ask the view, which takes ClickHouse twice as long."""
    interval = INTERVALS[code]
    ended = datetime.fromtimestamp(interval.start(int(NOW.timestamp())), UTC) - timedelta(milliseconds=1)
    ages = {"BTCUSD": (0, 5), "ETHUSD": (0,), "SOLUSD": (61, 400)}
    for number, (symbol, seconds) in enumerate(ages.items()):
        times = [ended - timedelta(seconds=one) for one in seconds] + [NOW] * (symbol == "BTCUSD")
        first = 300 * number + SYMBOLS.index(symbol)
        insert(hot, number, range(first, first + 3 * len(times), 3), NOW, times=times)

    async def work(reader: HotReader) -> None:
        candles = Candles(reader)
        for symbol in SYMBOLS:
            market = [("kraken", symbol)]
            bare = await candles.rows(interval, market, 1000, with_state=False)
            before = time.time()
            told = [bool(row["is_closed"]) for row in await candles.rows(interval, market, 1000, with_state=True)]
            found = []
            for now in (before, time.time()):
                mark_closed(interval, bare, now)
                found.append([row["is_closed"] for row in bare])
            assert told in found, (symbol, found)

    run(settings, work)
