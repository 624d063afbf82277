"""Groups the trades of a batch by market. Numeric ids and other ids are kept apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from pyroaring import BitMap64

from silver_processor.seen.id_sets import NO_HASHES, Hashes, Times, Words, hash_ids

Market = tuple[str, str]
Places = npt.NDArray[np.int64]
IDENTITY = ("exchange", "symbol", "trade_id")
# A decimal number without leading zeros. The cast tells whether it is below 2^64.
_PLAIN = r"^(?:0|[1-9][0-9]{0,19})$"
_NUMERIC_ID = pl.when(pl.col("trade_id").str.contains(_PLAIN)).then(pl.col("trade_id")).cast(pl.UInt64, strict=False)
# numpy sorts 16-bit integers by radix, which is faster.
_RADIX_SORTED = 2**16


@dataclass(slots=True, eq=False)
class MarketTrades:
    """The trades of one market in batch order.

    Trades with a numeric id (below 2^64): `numeric_ids`, `counts` the matches of each trade (None: one each),
    `numeric_rows` the rows in the batch and `numeric_times` the trade times (µs UTC). `lowest` and `highest` bound the
    ids of all matches, `earliest` and `latest` the times; all four are 0 if there is no numeric id. `is_ascending`:
    whether the matches come in ascending order, so that none occurs twice.

    Trades with any other id: `id_hashes`, `hashed_rows` and `hashed_times`.
    """

    market: Market
    numeric_ids: Words
    counts: npt.NDArray[np.int64] | None
    numeric_rows: Places
    numeric_times: Times
    lowest: int
    highest: int
    earliest: int
    latest: int
    is_ascending: bool
    id_hashes: Hashes
    hashed_rows: Places
    hashed_times: Times
    _distinct: BitMap64 | None = None

    @property
    def distinct(self) -> BitMap64:
        """The ids of all matches of the numeric trades. Callers share this set and must not change it."""
        if self._distinct is None:
            self._distinct = ids_of(self.numeric_ids, self.counts)
        return self._distinct

    @property
    def has_repeated_matches(self) -> bool:
        """Whether a match of a numeric trade occurs twice."""
        if self.is_ascending:
            return False
        return len(self.distinct) < (len(self.numeric_ids) if self.counts is None else int(self.counts.sum()))

    @property
    def has_repeats(self) -> bool:
        """Whether an id may occur twice: a match occurs twice, or the high half of a hash does."""
        high = self.id_hashes[0]
        return self.has_repeated_matches or len(np.unique(high)) < len(high)


def by_market(table: pa.Table) -> list[MarketTrades]:
    """The trades of a batch (columns exchange, symbol, trade_id, timestamp, match_count), grouped by market."""
    names = (table[name].cast(pa.string()).combine_chunks() for name in ("exchange", "symbol"))
    exchange, symbol = (column.dictionary_encode() for column in names)
    exchanges, symbols = exchange.dictionary.to_pylist(), symbol.dictionary.to_pylist()
    pair = exchange.indices.to_numpy().astype(np.int64) * len(symbols) + symbol.indices.to_numpy()
    pairs = len(exchanges) * len(symbols)
    order = np.argsort(pair.astype(np.uint16) if pairs <= _RADIX_SORTED else pair, kind="stable")
    sizes = np.bincount(pair, minlength=pairs)
    present = np.flatnonzero(sizes)
    markets = [(exchanges[code // len(symbols)], symbols[code % len(symbols)]) for code in present.tolist()]
    return _trades(markets, order, sizes[present], table)


def of_market(market: Market, table: pa.Table) -> MarketTrades:
    """The trades of a table of one market (columns trade_id, timestamp, match_count)."""
    return _trades([market], np.arange(table.num_rows), np.array([table.num_rows]), table)[0]


def ids_of(numeric_ids: Words, counts: npt.NDArray[np.int64] | None) -> BitMap64:
    """The ids of all matches of trades. `counts`: matches of each trade; None: one each."""
    ids = BitMap64(numeric_ids)
    if counts is not None:
        for last, count in zip(numeric_ids[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
            # The last id is in the set already. A range that includes it could end at 2^64, which BitMap64 refuses.
            ids.add_range(last - count + 1, last)
    return ids


def _trades(markets: Sequence[Market], order: Places, sizes: Places, table: pa.Table) -> list[MarketTrades]:
    """The trades of each market. `order`: the table's rows, market by market; `sizes`: rows of each market."""
    ids = pl.DataFrame(table.select(["trade_id"]))
    parsed = ids.select(_NUMERIC_ID).to_series()
    times = table["timestamp"].cast(pa.int64()).to_numpy()
    is_numeric = parsed.is_not_null().to_numpy()[order]
    market_of = np.repeat(np.arange(len(markets)), sizes)
    numeric_rows, hashed_rows = order[is_numeric], order[~is_numeric]
    of_numeric, of_hashed = market_of[is_numeric], market_of[~is_numeric]
    ends, hashed_ends = (np.bincount(kind, minlength=len(markets)).cumsum() for kind in (of_numeric, of_hashed))
    words = parsed.fill_null(0).to_numpy()[numeric_rows]
    counts = table["match_count"].to_numpy()[numeric_rows].astype(np.int64)
    firsts = words - (counts - 1).astype(np.uint64)
    numeric_times, hashed_times = times[numeric_rows], times[hashed_rows]
    high, low = hash_ids(ids["trade_id"].gather(hashed_rows)) if len(hashed_rows) else NO_HASHES
    falls = np.flatnonzero(firsts[1:] <= words[:-1]) + 1
    falling = set(of_numeric[falls[of_numeric[falls] == of_numeric[falls - 1]]].tolist())
    extremes = (
        _extremes(np.minimum, firsts, ends),
        _extremes(np.maximum, words, ends),
        _extremes(np.minimum, numeric_times, ends),
        _extremes(np.maximum, numeric_times, ends),
        _extremes(np.maximum, counts, ends),
    )
    grouped, start, hashed_start = [], 0, 0
    for place, (market, end, hashed_end, lowest, highest, earliest, latest, most_matches) in enumerate(
        zip(markets, ends.tolist(), hashed_ends.tolist(), *extremes, strict=True)
    ):
        grouped.append(
            MarketTrades(
                market,
                words[start:end],
                counts[start:end] if most_matches > 1 else None,
                numeric_rows[start:end],
                numeric_times[start:end],
                lowest,
                highest,
                earliest,
                latest,
                place not in falling,
                (high[hashed_start:hashed_end], low[hashed_start:hashed_end]),
                hashed_rows[hashed_start:hashed_end],
                hashed_times[hashed_start:hashed_end],
            )
        )
        start, hashed_start = end, hashed_end
    return grouped


def _extremes(extreme: np.ufunc, values: npt.NDArray[np.generic], ends: Places) -> list[int]:
    """The extreme of each market's values; 0 if it has none. `ends`: where each market's values end."""
    starts = np.concatenate([[0], ends[:-1]])
    extremes = np.zeros(len(ends), dtype=values.dtype)
    if (has_values := starts < ends).any():
        extremes[has_values] = extreme.reduceat(values, starts[has_values])
    return [int(value) for value in extremes.tolist()]
