"""Reads each new trade of the followed markets once."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from serving.market_data.candles import Market
from serving.market_data.hot_reader import HotReader, Row

# A trade that is older than the market's newest one by more than this is in candles, but is not read here.
_LATE_MS = 60_000
# A market with a trade within this time is busy: to look for its new trades costs less than to ask whether it changed.
_BUSY_MS = 60_000
# The clock of a worker that takes over a market may be behind the clock of the one before by so much.
_OVERLAP_US = 2_000_000
_MOST_ROWS = 50_000


@dataclass
class _Place:
    """How far a market is read.

    `newest`: time of its newest trade (ms). `validated`: when the newest trade that was read was validated (µs).
    `inserts`: the inserts whose trades of this market were read, each with its `validated_at` (µs), from `oldest` on.
    """

    newest: int
    validated: int
    inserts: dict[int, int] = field(default_factory=dict)

    @property
    def oldest(self) -> int:
        """When a trade that is still to be read was validated at the earliest (µs)."""
        return max(0, self.validated - _OVERLAP_US)

    def take(self, rows: Iterable[Row]) -> None:
        """From now on these rows count as read."""
        for row in rows:
            self.newest, self.validated = max(self.newest, row["time"]), max(self.validated, row["validated"])
            self.inserts[row["insert"]] = row["validated"]
        self.inserts = {insert: at for insert, at in self.inserts.items() if at >= self.oldest}


class NewTrades:
    """How far each followed market is read.

    The rows of one insert, market and day become visible at once, so an insert that was read is not read again.
    """

    def __init__(self, reader: HotReader) -> None:
        self._reader = reader
        self._places: dict[Market, _Place] = {}
        self._unread: set[Market] = set()

    @property
    def markets(self) -> Collection[Market]:
        """The followed markets."""
        return self._places.keys()

    @property
    def busy(self) -> set[Market]:
        """The followed markets with a trade in the last minute."""
        since = int(time.time() * 1000) - _BUSY_MS
        return {market for market, place in self._places.items() if place.newest >= since}

    def keep(self, markets: Collection[Market]) -> None:
        """Follow no other markets any more."""
        self._places = {market: place for market, place in self._places.items() if market in markets}
        self._unread &= self._places.keys()

    async def follow(self, added: Mapping[Market, tuple[int, int]]) -> None:
        """Follow more markets, of which the present trades count as read.

        Args:
            added: for each market, the time of its newest trade (ms) and when it was validated (µs); 0: none.

        Raises:
            ApiError: ClickHouse does not answer.
        """
        places = {market: _Place(newest, validated) for market, (newest, validated) in added.items()}
        await self._read(places)
        self._places |= places

    async def read(self, changed: Collection[Market]) -> list[Row]:
        """The new trades of the followed ones of some markets.

        Raises:
            ApiError: ClickHouse does not answer; the trades are read next time if their markets are named again.
        """
        due = self._unread | (self._places.keys() & changed)
        return await self._read({market: self._places[market] for market in due})

    async def _read(self, places: Mapping[Market, _Place]) -> list[Row]:
        # In groups by the age of the last trade, so that a long quiet market does not make the others' queries long.
        groups: dict[int, list[Market]] = defaultdict(list)
        now = int(time.time() * 1000)
        for market, place in places.items():
            groups[max(0, now - place.newest + _LATE_MS).bit_length()].append(market)
        answers = await self._reader.gather(
            *(self._ask({market: places[market] for market in group}) for group in groups.values())
        )
        self._unread -= places.keys()
        by_market: dict[Market, list[Row]] = defaultdict(list)
        for group, answer in zip(groups.values(), answers, strict=True):
            if len(answer) == _MOST_ROWS:
                self._unread |= set(group)
            for row in _whole_inserts(answer):
                by_market[row["exchange"], row["symbol"]].append(row)
        for market, rows in by_market.items():
            places[market].take(rows)
        return [row for rows in by_market.values() for row in rows]

    async def _ask(self, places: Mapping[Market, _Place]) -> list[Row]:
        return await self._reader.rows(
            "new_trades",
            {
                "markets": sorted(places),
                "since": max(0, min(place.newest for place in places.values()) - _LATE_MS),
                "names": [f"{exchange} {symbol}" for exchange, symbol in places],
                "oldest": [place.oldest for place in places.values()],
                "inserts": [insert for place in places.values() for insert in place.inserts],
                "limit": _MOST_ROWS,
            },
        )


def _whole_inserts(rows: list[Row]) -> list[Row]:
    """The rows without those of the last insert, if the query's limit may have cut it off: it is read next time."""
    if len(rows) < _MOST_ROWS or rows[0]["validated"] == rows[-1]["validated"]:
        return rows
    return [row for row in rows if row["validated"] != rows[-1]["validated"]]
