"""Accepted versions of trades, honoured in the stream: what says something else never becomes the trade."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import polars as pl
import pyarrow as pa

from silver_processor.by_market import Market
from silver_processor.core.versions import HELD, compare, overruled
from silver_processor.rederived import LIVE


class Accepted(Protocol):
    """Where the corrections are (see `silver_processor.store.Store`)."""

    def corrected_markets(self, exchanges: Sequence[str]) -> list[Market]:
        """The markets of these exchanges that have corrections."""

    def corrections(self, rows: pa.Table) -> pl.DataFrame:
        """The corrections of these rows' trades."""


def overruled_rows(accepted: Accepted, valid: pa.Table, now: datetime) -> pl.DataFrame:
    """Those of a batch's valid rows that a correction overrules (see `silver_processor.core.versions.overruled`).

    Only days that are over are corrected, so a batch of live trades costs no question; `now` is UTC.

    Raises:
        StoppedError: the worker stops.
    """
    rows = pl.DataFrame(valid)
    older = rows.filter(pl.col("timestamp") <= now - LIVE)
    if older.height:
        markets = accepted.corrected_markets(older["exchange"].unique().sort().to_list())
        corrected = pl.DataFrame(markets, schema={"exchange": pl.String, "symbol": pl.String}, orient="row")
        older = older.join(corrected, on=["exchange", "symbol"], how="semi")
    held = accepted.corrections(older.to_arrow()) if older.height else HELD.to_frame()
    return overruled(compare(older, held))
