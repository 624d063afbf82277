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
IDENTITY = ("exchange", "symbol", "trade_id")
# The plain text of a number; whether it is below 2^64 shows when it is read.
_NUMBER = r"^(?:0|[1-9][0-9]{0,19})$"


@dataclass(frozen=True, slots=True)
class MarketTrades:
    """The trades of one market, one entry each in batch order: its `rows` in the batch and their `times` (µs UTC).

    `numbers`: ids, numbers below 2^64, and the same as a set (`distinct`); `texts`: the other ids. `number_rows`,
    `number_times` go with the former, `text_rows`, `text_times` with the latter.
    """

    market: Market
    numbers: npt.NDArray[np.uint64]
    distinct: BitMap64
    number_rows: npt.NDArray[np.uint32]
    number_times: npt.NDArray[np.int64]
    texts: pl.Series
    text_rows: npt.NDArray[np.uint32]
    text_times: npt.NDArray[np.int64]

    @property
    def has_repeats(self) -> bool:
        """Whether an id occurs twice."""
        return len(self.distinct) < len(self.numbers) or self.texts.n_unique() < len(self.texts)


def by_market(table: pa.Table) -> list[MarketTrades]:
    """Every market's trades (columns exchange, symbol, trade_id, timestamp)."""
    numbers, texts = _by_kind(table.select([*IDENTITY, "timestamp"]))
    number_parts, text_parts = dict(_parts(numbers, "number")), dict(_parts(texts, "trade_id"))
    markets, none = number_parts | text_parts, numbers.clear()
    return [_trades(market, number_parts.get(market, none), text_parts.get(market, none)) for market in markets]


def of_market(market: Market, table: pa.Table) -> MarketTrades:
    """The trades of a table that has no other market's (columns trade_id, timestamp)."""
    return _trades(market, *_by_kind(table.select(["trade_id", "timestamp"])))


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
    columns = ("row", "timestamp", ids)
    grouped = rows.group_by("exchange", "symbol", maintain_order=True).agg(*columns)
    flat = pl.DataFrame([grouped[name].explode() for name in columns])
    start = 0
    for exchange, symbol, count in zip(grouped["exchange"], grouped["symbol"], grouped["row"].list.len(), strict=True):
        yield (exchange, symbol), flat.slice(start, count)
        start += count


def _trades(market: Market, numbers: pl.DataFrame, texts: pl.DataFrame) -> MarketTrades:
    words = numbers["number"].to_numpy()
    return MarketTrades(
        market,
        words,
        BitMap64(words),
        numbers["row"].to_numpy(),
        numbers["timestamp"].to_numpy(),
        texts["trade_id"],
        texts["row"].to_numpy(),
        texts["timestamp"].to_numpy(),
    )
