"""The taker-buy quote volume of candles, which Gold does not keep: summed from the trades, and cached."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from serving.market_data.amounts import amount
from serving.market_data.hot_reader import HotReader, Row
from serving.market_data.hot_start import HotStart
from serving.market_data.intervals import Interval

# The volume of a candle whose trades Silver does not have all.
UNKNOWN = "NaN"
TRADES = "silver_trades"
# At most so much time is read from Iceberg for this column, s; more takes longer than a request may.
_MOST_COLD_SECONDS = 7 * 86_400
# So many candles are cached, some 30 MB; the least recently used ones are dropped first.
_MOST_REMEMBERED = 100_000
_NEVER = "2299-12-31 23:59:59"
# Any new trade of a candle changes one of these columns: two states that agree in them have the same trades.
_FINGERPRINT = ("updated_at", "trade_count", "volume", "quote_volume", "buy_volume")
_Candle = tuple[str, str, int, int]


class Buyers:
    """Reads the trades of a candle once, and again after the candle has changed."""

    def __init__(self, reader: HotReader, hot_start: HotStart, most: int = _MOST_REMEMBERED) -> None:
        self._reader = reader
        self._hot_start = hot_start
        self._most = most
        self._remembered: OrderedDict[_Candle, tuple[tuple[object, ...], str]] = OrderedDict()

    async def add(self, interval: Interval, rows: Sequence[Row]) -> None:
        """Set `buy_quote_volume` (quote currency) of each candle.

        It is `UNKNOWN` if the trades of the candles have left ClickHouse for more than a week of their time.

        Raises:
            ApiError: ClickHouse does not answer.
        """
        uncached = [row for row in rows if not self._recall(interval, row)]
        if not uncached:
            return
        since, until = uncached[0]["opened"], interval.end(uncached[-1]["opened"])
        cold_seconds = min(await self._hot_start.hot_since(TRADES), until) - since
        sums = await self._reader.rows(
            "buyers",
            {
                "markets": sorted({(row["exchange"], row["symbol"]) for row in uncached}),
                "from": since,
                "until": until,
                "seen": _newest_update(uncached),
            },
            trades=f"{TRADES}_all" if 0 < cold_seconds <= _MOST_COLD_SECONDS else TRADES,
            seconds=interval.seconds,
            offset=interval.offset,
        )
        by_window = {(row["exchange"], row["symbol"], row["opened"]): row for row in sums}
        for row in uncached:
            of_trades = by_window.get((row["exchange"], row["symbol"], row["opened"]))
            if of_trades and of_trades["trade_count"] == row["trade_count"]:
                row["buy_quote_volume"] = amount(of_trades["buy_quote_volume"])
                self._remember(interval, row)
            else:
                row["buy_quote_volume"] = UNKNOWN

    def _recall(self, interval: Interval, row: Row) -> bool:
        candle = _candle(interval, row)
        known = self._remembered.get(candle)
        if known is None or known[0] != _fingerprint(row):
            return False
        self._remembered.move_to_end(candle)
        row["buy_quote_volume"] = known[1]
        return True

    def _remember(self, interval: Interval, row: Row) -> None:
        # Iceberg does not store when a candle last changed.
        if row["updated_at"] is None:
            return
        self._remembered[_candle(interval, row)] = _fingerprint(row), row["buy_quote_volume"]
        while len(self._remembered) > self._most:
            self._remembered.popitem(last=False)


def _newest_update(rows: Sequence[Row]) -> str:
    """When the newest trade of these candles was validated (UTC); `_NEVER` if Iceberg, which does not say, has some."""
    if any(row["updated_at"] is None for row in rows):
        return _NEVER
    return max(str(row["updated_at"]) for row in rows)


def _candle(interval: Interval, row: Row) -> _Candle:
    # Only the interval of a month has 0 seconds, so `seconds` identifies an interval.
    return row["exchange"], row["symbol"], interval.seconds, row["opened"]


def _fingerprint(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in _FINGERPRINT)
