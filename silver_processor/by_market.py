"""A batch's trades by market, as the index of seen trades wants them: ids that are numbers apart from other texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from pyroaring import BitMap64

Market = tuple[str, str]
Words = npt.NDArray[np.uint64]
IDENTITY = ("exchange", "symbol", "trade_id")
_TOLD = ("timestamp", "match_count")
# The plain text of a number; whether it is below 2^64 shows when it is read.
_NUMBER = r"^(?:0|[1-9][0-9]{0,19})$"


@dataclass(frozen=True, slots=True)
class MarketTrades:
    """The trades of one market, one entry each in batch order: its `rows` in the batch and their `times` (µs UTC).

    `numbers`: ids, numbers below 2^64, and of how many matches each is the last one's (`counts`; None: of one, all of
    them); `distinct`: the ids of all these matches as a set. `texts`: the other ids, each of which stands for itself.
    `number_rows`, `number_times` go with the former, `text_rows`, `text_times` with the latter.
    """

    market: Market
    numbers: Words
    counts: npt.NDArray[np.int64] | None
    distinct: BitMap64
    number_rows: npt.NDArray[np.uint32]
    number_times: npt.NDArray[np.int64]
    texts: pl.Series
    text_rows: npt.NDArray[np.uint32]
    text_times: npt.NDArray[np.int64]

    @property
    def has_repeats(self) -> bool:
        """Whether a match occurs twice."""
        matches = len(self.numbers) if self.counts is None else int(self.counts.sum())
        return len(self.distinct) < matches or self.texts.n_unique() < len(self.texts)


def by_market(table: pa.Table) -> list[MarketTrades]:
    """Every market's trades (columns exchange, symbol, trade_id, timestamp, match_count)."""
    numbers, texts = _by_kind(table.select([*IDENTITY, *_TOLD]))
    number_parts, text_parts = dict(_parts(numbers, "number")), dict(_parts(texts, "trade_id"))
    markets, none = number_parts | text_parts, numbers.clear()
    return [_trades(market, number_parts.get(market, none), text_parts.get(market, none)) for market in markets]


def of_market(market: Market, table: pa.Table) -> MarketTrades:
    """The trades of a table that has no other market's (columns trade_id, timestamp, match_count)."""
    return _trades(market, *_by_kind(table.select(["trade_id", *_TOLD])))


def ids_of(numbers: Words, counts: npt.NDArray[np.int64] | None) -> BitMap64:
    """The ids of all matches: of each number so many, up to it."""
    found = BitMap64(numbers)
    if counts is not None:
        for last, count in zip(numbers[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True):
            # The last one is in, and the end of a range may not be 2^64.
            found.add_range(last - count + 1, last)
    return found


def _by_kind(table: pa.Table) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows whose id is a number, and the others."""
    trade_id = pl.col("trade_id")
    rows = pl.DataFrame(table).with_row_index("row")
    rows = rows.with_columns(
        pl.col("timestamp").to_physical(),
        pl.when(trade_id.str.contains(_NUMBER)).then(trade_id).cast(pl.UInt64, strict=False).alias("number"),
    )
    is_number = rows["number"].is_not_null()
    if is_number.all():
        return rows, rows.clear()
    return rows.filter(is_number), rows.filter(~is_number)


def _parts(rows: pl.DataFrame, ids: str) -> Iterator[tuple[Market, pl.DataFrame]]:
    """The rows of each market; slices of one frame, since a batch may have hundreds of markets."""
    columns = ("row", "timestamp", "match_count", ids)
    grouped = rows.group_by("exchange", "symbol", maintain_order=True).agg(*columns)
    flat = pl.DataFrame([grouped[name].explode() for name in columns])
    start = 0
    for exchange, symbol, count in zip(grouped["exchange"], grouped["symbol"], grouped["row"].list.len(), strict=True):
        yield (exchange, symbol), flat.slice(start, count)
        start += count


def _trades(market: Market, numbers: pl.DataFrame, texts: pl.DataFrame) -> MarketTrades:
    words = numbers["number"].to_numpy()
    counts = numbers["match_count"].cast(pl.Int64).to_numpy()
    some = counts if (counts > 1).any() else None
    return MarketTrades(
        market,
        words,
        some,
        ids_of(words, some),
        numbers["row"].to_numpy(),
        numbers["timestamp"].to_numpy(),
        texts["trade_id"],
        texts["row"].to_numpy(),
        texts["timestamp"].to_numpy(),
    )
