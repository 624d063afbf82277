"""Trades of several matches in one exchange and day: which of the messages that Silver lacks are new (pure).

What belongs to one trade id is judged in one bucket, but a sum of matches and these matches singly have several ids.
So the ids of all matches of the markets that have such trades are known before the buckets are judged, as Silver's
worker knows them. A sum that today's rules take out of Silver makes room for its single matches in the next
re-derivation only.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
import pyarrow as pa
from pyroaring import BitMap64

from silver_processor.core.matches import match
from silver_processor.core.refine import PLACE, partly_known
from silver_processor.seen.by_market import of_market

_ORDER = ["timestamp", "sequence", "trade_id", *PLACE]


class MatchIndex:
    """Told of the sums among Bronze's rows (`add_bronze`) and of all rows of Silver (`add_silver`), in any order, then asked about
    what is to be added (`split_new`).

    `symbols` (canonical) have trades of several matches in Bronze or Silver; of others there is nothing to know.
    """

    def __init__(self, symbols: set[str]) -> None:
        self.symbols = symbols
        self._known: dict[str, BitMap64] = defaultdict(BitMap64)
        self._candidates: list[pl.DataFrame] = []
        self._chosen: pl.DataFrame | None = None

    def add_silver(self, silver: pl.DataFrame) -> None:
        """Rows of Silver."""
        if not self.symbols:
            return
        rows_of_symbols = silver.filter(pl.col("symbol").is_in(list(self.symbols)))
        for (symbol,), rows in rows_of_symbols.group_by("symbol"):
            self._known[str(symbol)] |= of_market(("", str(symbol)), _typed(rows)).distinct

    def add_bronze(self, valid: pl.DataFrame) -> None:
        """Valid messages that sum up several matches (Silver's columns, but those of its insert).

        One that Silver has as it is need not be among them.
        """
        self._candidates.append(valid.select(*_ORDER, "symbol", "match_count"))

    def split_new(self, added: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Of rows that Silver does not have by their ids those that are new, and what `refuse` is told of the sums of
        which Silver has some matches. The others are duplicates.
        """
        rows_of_symbols = added.filter(pl.col("symbol").is_in(list(self.symbols)))
        if not rows_of_symbols.height:
            return added, partly_known(added.clear(), [])
        self._choose_sums()
        kept, refused = [added.filter(~pl.col("symbol").is_in(list(self.symbols)))], [added.clear()]
        known: list[str] = []
        for (symbol,), rows in rows_of_symbols.group_by("symbol", maintain_order=True):
            new, partly = self._split_market(str(symbol), rows)
            kept.append(rows.filter(new))
            refused.append(rows[[*partly]])
            known += partly.values()
        return pl.concat(kept), partly_known(pl.concat(refused), known)

    def _choose_sums(self) -> None:
        """The sums that become rows; what they stand for is known from now on."""
        if self._chosen is not None:
            return
        offered = pl.concat(self._candidates).sort(_ORDER) if self._candidates else None
        chosen = []
        for (symbol,), rows in offered.group_by("symbol", maintain_order=True) if offered is not None else ():
            trades = of_market(("", str(symbol)), _typed(rows))
            known = self._known[str(symbol)]
            matched = match(trades.numbers, trades.counts, known, overlap=True)
            fresh = ~matched.again
            fresh[[*matched.partly]] = False
            places = trades.number_rows[fresh]
            new = rows[places.tolist()]
            chosen.append(new.select("symbol", "trade_id", "match_count"))
            self._known[str(symbol)] = known | of_market(("", str(symbol)), _typed(new)).distinct
        none = pl.DataFrame(schema={"symbol": pl.String, "trade_id": pl.String, "match_count": pl.Int64})
        self._chosen = pl.concat([none, *(part.cast(none.schema) for part in chosen)])

    def _split_market(self, symbol: str, rows: pl.DataFrame) -> tuple[pl.Series, dict[int, str]]:
        """Which rows are new; of those known in part (by place) what is known."""
        assert self._chosen is not None
        trades = of_market(("", symbol), _typed(rows))
        matched = match(trades.numbers, trades.counts, self._known[symbol], overlap=False)
        new = np.ones(rows.height, dtype=np.bool_)
        new[trades.number_rows[matched.again]] = False
        partly = {int(trades.number_rows[place]): text for place, text in matched.partly.items()}
        new[[*partly]] = False
        own = ["symbol", "trade_id", "match_count"]
        chosen = (
            rows.select(own).cast(self._chosen.schema).with_row_index("place").join(self._chosen, on=own, how="semi")
        )
        new[chosen["place"].to_numpy()] = True
        return pl.Series(new), partly


def _typed(rows: pl.DataFrame) -> pa.Table:
    return rows.select("trade_id", "timestamp", "match_count").to_arrow()
