"""The taker-buy quote volume of candles, which Gold does not keep: summed from the trades, and remembered."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

from serving.market_data.amounts import amount
from serving.market_data.intervals import Interval
from serving.market_data.tiers import Tiers
from serving.market_data.warehouse import Row, Warehouse

# What the volume is where the trades of a candle are not all there.
UNKNOWN = "NaN"
TRADES = "silver_trades"
# Trades of so much cold time are read for a column of a candle, s; a longer time takes longer than a request may.
_MOST_COLD_SECONDS = 7 * 86_400
# Candles that are remembered, some 30 MB; those that nobody has asked for the longest are forgotten first.
_MOST_REMEMBERED = 100_000
# What changes with any trade of a candle: two candles that agree in it have the same trades.
_SIGNS = ("updated_at", "trade_count", "volume", "quote_volume", "buy_volume")
_Candle = tuple[str, str, int, int]


class Buyers:
    """Reads the trades of a candle once, and again when the candle has changed."""

    def __init__(self, warehouse: Warehouse, tiers: Tiers, most: int = _MOST_REMEMBERED) -> None:
        self._warehouse = warehouse
        self._tiers = tiers
        self._most = most
        self._remembered: OrderedDict[_Candle, tuple[tuple[object, ...], str]] = OrderedDict()

    async def add(self, interval: Interval, rows: Sequence[Row]) -> None:
        """Give each candle `buy_quote_volume`, quote currency.

        It is unknown of candles whose trades have left ClickHouse, if that is more than a week of them.

        Raises:
            ApiError: ClickHouse does not answer.
        """
        asked = [row for row in rows if not self._recall(interval, row)]
        if not asked:
            return
        since, until = asked[0]["opened"], interval.end(asked[-1]["opened"])
        cold_seconds = min(await self._tiers.hot_since(TRADES), until) - since
        found = await self._warehouse.rows(
            "buyers",
            {
                "markets": sorted({(row["exchange"], row["symbol"]) for row in asked}),
                "from": since,
                "until": until,
            },
            trades=f"{TRADES}_all" if 0 < cold_seconds <= _MOST_COLD_SECONDS else TRADES,
            seconds=interval.seconds,
            offset=interval.offset,
        )
        by_window = {(row["exchange"], row["symbol"], row["opened"]): row for row in found}
        for row in asked:
            of_trades = by_window.get((row["exchange"], row["symbol"], row["opened"]))
            if of_trades and of_trades["trade_count"] == row["trade_count"]:
                row["buy_quote_volume"] = amount(of_trades["buy_quote_volume"])
                self._remember(interval, row)
            else:
                row["buy_quote_volume"] = UNKNOWN

    def _recall(self, interval: Interval, row: Row) -> bool:
        candle = _candle(interval, row)
        known = self._remembered.get(candle)
        if known is None or known[0] != _signs(row):
            return False
        self._remembered.move_to_end(candle)
        row["buy_quote_volume"] = known[1]
        return True

    def _remember(self, interval: Interval, row: Row) -> None:
        # Iceberg does not have when a candle last changed.
        if row["updated_at"] is None:
            return
        self._remembered[_candle(interval, row)] = _signs(row), row["buy_quote_volume"]
        while len(self._remembered) > self._most:
            self._remembered.popitem(last=False)


def _candle(interval: Interval, row: Row) -> _Candle:
    # A month has no length in seconds, and no other interval has 0.
    return row["exchange"], row["symbol"], interval.seconds, row["opened"]


def _signs(row: Row) -> tuple[object, ...]:
    return tuple(row[name] for name in _SIGNS)
