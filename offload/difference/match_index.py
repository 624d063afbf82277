"""Finds which messages of one exchange and day have a match that Silver lacks (pure).

Trades are compared in buckets by trade id. But a trade of several matches has another id than the single matches. So
the ids of all matches are collected before the buckets are compared, in markets that have trades of several matches.
The Silver worker does the same. If today's rules remove a trade of several matches from Silver, only the next
re-derivation adds its single matches.
"""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import polars as pl
import pyarrow as pa
from pyroaring import BitMap64

from schemas.coordinates import COORDINATES
from silver_processor.core.matches import match
from silver_processor.core.refine import partly_known
from silver_processor.seen.by_market import of_market

_ORDER = ["timestamp", "sequence", "trade_id", *COORDINATES]


class MatchIndex:
    """The matches that Silver has. Add Bronze and Silver in any order, then call `split_new`.

    `symbols` (canonical) have trades of several matches in Bronze or Silver. Other symbols need no index.
    """

    def __init__(self, symbols: set[str]) -> None:
        self.symbols = symbols
        self._known: dict[str, BitMap64] = defaultdict(BitMap64)
        self._candidates: list[pl.DataFrame] = []
        self._chosen: pl.DataFrame | None = None

    def add_silver(self, silver: pl.DataFrame) -> None:
        """Add rows of Silver."""
        if not self.symbols:
            return
        indexed = silver.filter(pl.col("symbol").is_in(list(self.symbols)))
        for (symbol,), rows in indexed.group_by("symbol"):
            self._known[str(symbol)] |= of_market(("", str(symbol)), _typed(rows)).distinct

    def add_bronze(self, valid: pl.DataFrame) -> None:
        """Add valid messages of several matches (Silver's columns without those of its insert).

        Messages that are in Silver unchanged may be left out.
        """
        self._candidates.append(valid.select(*_ORDER, "symbol", "match_count"))

    def split_new(self, added: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Split rows whose ids Silver does not have.

        Returns:
            The rows that bring only new matches, and the rows that bring new and known matches, in the form that
            `refuse` expects. All other rows are duplicates.
        """
        indexed = added.filter(pl.col("symbol").is_in(list(self.symbols)))
        if not indexed.height:
            return added, partly_known(added.clear(), [])
        self._choose_sums()
        kept, refused = [added.filter(~pl.col("symbol").is_in(list(self.symbols)))], [added.clear()]
        known: list[str] = []
        for (symbol,), rows in indexed.group_by("symbol", maintain_order=True):
            new, partly = self._split_market(str(symbol), rows)
            kept.append(rows.filter(new))
            refused.append(rows[[*partly]])
            known += partly.values()
        return pl.concat(kept), partly_known(pl.concat(refused), known)

    def _choose_sums(self) -> None:
        """Choose the trades of several matches that become rows, and add their matches to the known ones."""
        if self._chosen is not None:
            return
        candidates = pl.concat(self._candidates).sort(_ORDER) if self._candidates else None
        chosen = []
        for (symbol,), rows in candidates.group_by("symbol", maintain_order=True) if candidates is not None else ():
            trades = of_market(("", str(symbol)), _typed(rows))
            known = self._known[str(symbol)]
            matched = match(trades.numeric_ids, trades.counts, known, overlap=True)
            fresh = ~matched.is_duplicate
            fresh[[*matched.partly_known]] = False
            places = trades.numeric_rows[fresh]
            new = rows[places.tolist()]
            chosen.append(new.select("symbol", "trade_id", "match_count"))
            self._known[str(symbol)] = known | of_market(("", str(symbol)), _typed(new)).distinct
        empty = pl.DataFrame(schema={"symbol": pl.String, "trade_id": pl.String, "match_count": pl.Int64})
        self._chosen = pl.concat([empty, *(part.cast(empty.schema) for part in chosen)])

    def _split_market(self, symbol: str, rows: pl.DataFrame) -> tuple[pl.Series, dict[int, str]]:
        """Which rows are new; and, by row number, the known matches of the rows that are known in part."""
        assert self._chosen is not None
        trades = of_market(("", symbol), _typed(rows))
        matched = match(trades.numeric_ids, trades.counts, self._known[symbol], overlap=False)
        new = np.ones(rows.height, dtype=np.bool_)
        new[trades.numeric_rows[matched.is_duplicate]] = False
        partly = {int(trades.numeric_rows[place]): text for place, text in matched.partly_known.items()}
        new[[*partly]] = False
        key = ["symbol", "trade_id", "match_count"]
        chosen = (
            rows.select(key).cast(self._chosen.schema).with_row_index("place").join(self._chosen, on=key, how="semi")
        )
        new[chosen["place"].to_numpy()] = True
        return pl.Series(new), partly


def _typed(rows: pl.DataFrame) -> pa.Table:
    return rows.select("trade_id", "timestamp", "match_count").to_arrow()
