"""The index of trades that Silver holds: which rows of a batch are new, which are duplicates."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from pyroaring import BitMap64

from silver_processor.core.matches import match
from silver_processor.seen.by_market import IDENTITY, Market, MarketTrades, Places, by_market, of_market
from silver_processor.seen.id_bitmaps import NumberSet
from silver_processor.seen.id_hashes import DigestSet

# The times of a trade of several matches and of these singly are that close at most.
SAME_TIME_US = 1_000_000
# Rows (exchange, symbol, trade_id, timestamp, match_count) of one market → Silver's trades (trade_id, timestamp,
# match_count) that have a match in common with any of them, and perhaps others; apart from the rows of the insert with
# that token ("": all count).
InSilver = Callable[[pa.Table, str], pa.Table]

_ORDER = ["timestamp", "sequence", "trade_id", "raw_topic", "published_at", "raw_partition", "raw_offset"]


class MarketNotLoadedError(LookupError):
    """A batch has a market whose earlier ids were never loaded: call `load` for `unknown(valid)` first."""


@dataclass(slots=True)
class _Ids:
    numbers: NumberSet
    texts: DigestSet

    def __len__(self) -> int:
        return len(self.numbers) + len(self.texts)

    @property
    def memory_bytes(self) -> int:
        return self.numbers.memory_bytes + self.texts.memory_bytes


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of a batch, each in one table, in the batch's order; `again` are duplicates.

    `partly`: of trades that sum up several matches those of which Silver has some: the trade would count these twice,
    or the others would be lost in silence. `known`: for each, which it has (`5-6 of 5-7`).
    """

    fresh: pa.Table
    again: pa.Table
    partly: pa.Table
    known: list[str]


class SeenTrades:
    """Which (exchange, canonical symbol, trade_id) Silver holds, by market; loaded when a market is first met.

    Ids that are numbers below 2^64 live in roaring bitmaps (consecutive ids cost next to nothing), all those that a
    trade of several matches stands for; other ids as 128-bit digests. Bounded three times: a market's numbers by
    `numbers_bytes_per_market`, its other ids by their count `texts_per_market` (16 bytes each), all markets together by
    `max_bytes`. A row no newer than what its market forgot is asked of Silver through `in_silver`, on the understanding
    that an exchange sends a trade again with the same time. Beyond `max_bytes` the markets not met for longest are
    forgotten whole, and loaded again when met.
    """

    def __init__(
        self,
        in_silver: InSilver,
        max_bytes: int = 512 * 2**20,
        texts_per_market: int = 1_000_000,
        numbers_bytes_per_market: int = 32 * 2**20,
    ) -> None:
        self._in_silver = in_silver
        self._max_bytes = max_bytes
        self._texts_per_market = texts_per_market
        self._numbers_bytes_per_market = numbers_bytes_per_market
        self._markets: OrderedDict[Market, _Ids] = OrderedDict()
        self._sizes: dict[Market, tuple[int, int]] = {}
        # The table asked about last: it is asked about again, and mostly all of it is added.
        self._told: tuple[pa.Table, list[MarketTrades]] | None = None

    @property
    def memory_bytes(self) -> int:
        """Bytes of all ids held, an upper bound."""
        # A copy: the metrics ask while an insert goes on.
        return sum(size for size, _ in list(self._sizes.values()))

    @property
    def ids(self) -> int:
        """How many ids are held."""
        return sum(count for _, count in list(self._sizes.values()))

    @property
    def markets(self) -> int:
        """How many markets are held."""
        return len(self._sizes)

    def unknown(self, valid: pa.Table) -> list[Market]:
        """The markets of a batch that must be loaded before `split`, sorted."""
        return sorted(part.market for part in self._parts(valid) if part.market not in self._markets)

    def load(self, markets: Collection[Market], blocks: Iterable[pa.Table] = (), horizon: int | None = None) -> None:
        """Know `markets` from now on, with the trades in `blocks` (columns exchange, symbol, trade_id, timestamp,
        match_count; ascending times in each market) and nothing of what Silver holds at or before `horizon` (µs; None:
        `blocks` are all of it).

        Loading a market again starts from nothing.
        """
        self.forget(markets)
        loaded = {
            market: _Ids(
                NumberSet(self._numbers_bytes_per_market, horizon),
                DigestSet(self._texts_per_market, horizon),
            )
            for market in markets
        }
        for block in blocks:
            for part in by_market(block):
                _learn(loaded[part.market], part)
        for market, ids in loaded.items():
            self._keep(market, ids)

    def split(self, valid: pa.Table, but_token: str = "") -> Split:
        """What of a batch (Silver's columns) is new; the index itself is not changed.

        Of rows with a match in common the one of more matches is fresh, of equally long ones the first in (timestamp,
        sequence, trade_id, raw coordinates). `but_token`: rows that Silver holds under this token do not count.

        Raises:
            MarketNotLoadedError: a market was not loaded.
        """
        parts = self._parts(valid)
        again = np.zeros(valid.num_rows, dtype=np.bool_)
        partly: dict[int, str] = {}
        for part in parts:
            self._mark_held(valid, part, again, partly, but_token)
        rest = ~again
        rest[list(partly)] = False
        if any(part.has_repeats for part in parts):
            repeated = _repeated(valid, rest)
            again |= repeated
            rest &= ~repeated
        if rest.all():
            return Split(valid, valid.slice(0, 0), valid.slice(0, 0), [])
        places = sorted(partly)
        return Split(
            valid.filter(pa.array(rest)),
            valid.filter(pa.array(again)),
            valid.take(pa.array(places, pa.int64())),
            [partly[place] for place in places],
        )

    def add(self, table: pa.Table) -> None:
        """Remember rows that Silver holds now (columns exchange, symbol, trade_id, timestamp, match_count), each once.

        Raises:
            MarketNotLoadedError: a market was not loaded.
        """
        for part in self._parts(table):
            ids = self._ids(part.market)
            _learn(ids, part)
            self._keep(part.market, ids)

    def trim(self) -> None:
        """Forget the markets not met for longest while the index is larger than `max_bytes`; between batches."""
        while self.memory_bytes > self._max_bytes and len(self._markets) > 1:
            oldest, _ = self._markets.popitem(last=False)
            del self._sizes[oldest]

    def forget(self, markets: Iterable[Market] | None = None) -> None:
        """Forget the markets (all by default): they are loaded again when met."""
        for market in list(self._markets) if markets is None else markets:
            self._markets.pop(market, None)
            self._sizes.pop(market, None)

    def forget_exchanges(self, exchanges: Collection[str]) -> None:
        """Forget every market of these exchanges."""
        self.forget([market for market in self._markets if market[0] in exchanges])

    def _parts(self, table: pa.Table) -> list[MarketTrades]:
        if self._told is None or self._told[0] is not table:
            self._told = (table, by_market(table))
        return self._told[1]

    def _ids(self, market: Market) -> _Ids:
        if market not in self._markets:
            message = f"{market[0]}:{market[1]} is not loaded: call load for unknown(batch) before split or add"
            raise MarketNotLoadedError(message)
        return self._markets[market]

    def _keep(self, market: Market, ids: _Ids) -> None:
        self._markets[market] = ids
        self._markets.move_to_end(market)
        self._sizes[market] = (ids.memory_bytes, len(ids))

    def _mark_held(
        self,
        valid: pa.Table,
        part: MarketTrades,
        again: npt.NDArray[np.bool_],
        partly: dict[int, str],
        but_token: str,
    ) -> None:
        """Set `again` and `partly` (by row) for the market's rows whose matches are held, or are in Silver where the
        index has forgotten them."""
        ids = self._ids(part.market)
        held = ids.texts.holds(part.digests)
        again[part.text_rows] = held
        unsure = part.text_rows[_older(part.text_times, ids.texts.horizon) & ~held]
        if not len(unsure) and _are_new(part, ids.numbers):
            return
        known = ids.numbers.common(part.distinct)
        old = _older(part.number_times - SAME_TIME_US, ids.numbers.horizon)
        asked = np.sort(np.concatenate([unsure, part.number_rows[old & ~_whole(part, known)]]))
        if len(asked):
            columns = valid.select([*IDENTITY, "timestamp", "match_count"])
            found = of_market(part.market, self._in_silver(columns.take(pa.array(asked)), but_token))
            known |= found.distinct & part.distinct
            texts = DigestSet(len(found.text_rows))
            texts.add(found.digests, found.text_times)
            again[part.text_rows] |= texts.holds(part.digests)
        overlap = part.has_repeated_numbers
        order = _canonical(valid, part) if part.counts is not None and overlap else slice(None)
        counts = None if part.counts is None else part.counts[order]
        matched = match(part.numbers[order], counts, known, overlap=overlap)
        places = part.number_rows[order]
        again[places] = matched.again
        partly |= {int(places[place]): text for place, text in matched.partly.items()}


def _are_new(part: MarketTrades, held: NumberSet) -> bool:
    """Whether a glance shows that the numeric trades have no match in common with Silver's, nor sums with each other:
    so it is with trades that arrive in order."""
    if not len(part.numbers):
        return True
    is_newer = held.horizon is None or part.earliest - SAME_TIME_US > held.horizon
    return is_newer and part.lowest > held.highest and (part.counts is None or not part.has_repeated_numbers)


def _older(times: npt.NDArray[np.int64], horizon: int | None) -> npt.NDArray[np.bool_]:
    return np.zeros(len(times), dtype=np.bool_) if horizon is None else times <= horizon


def _whole(part: MarketTrades, known: BitMap64) -> npt.NDArray[np.bool_]:
    """Which trades are single matches, and known: of the others only the index as a whole can tell."""
    is_known = np.isin(part.numbers, np.asarray(known.to_array(), dtype=np.uint64))
    return is_known if part.counts is None else is_known & (part.counts == 1)


def _canonical(valid: pa.Table, part: MarketTrades) -> Places:
    """The places of the market's numeric trades in the canonical order."""
    rows = pl.DataFrame(valid.select(_ORDER).take(pa.array(part.number_rows))).with_row_index("place")
    return rows.sort([*_ORDER, "place"])["place"].to_numpy()


def _learn(ids: _Ids, part: MarketTrades) -> None:
    if len(part.numbers):
        ids.numbers.add(part.distinct, part.latest)
    ids.texts.add(part.digests, part.text_times)


def _repeated(valid: pa.Table, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Rows whose identity an earlier row has, earlier in the canonical order; only rows `among` which it says count."""
    repeated = np.zeros(valid.num_rows, dtype=np.bool_)
    names = list(dict.fromkeys([*IDENTITY, *_ORDER]))
    rows = pl.DataFrame(valid.select(names)).with_row_index("row").filter(among)
    again = rows.select(IDENTITY).is_duplicated()
    if again.any():
        ordered = rows.filter(again).sort([*_ORDER, "row"])
        repeated[ordered.filter(~pl.struct(IDENTITY).is_first_distinct())["row"].to_numpy()] = True
    return repeated
