"""Accepted versions of trades, honoured in the stream: what says something else never becomes the trade."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from schemas.records import SILVER
from silver_processor.core.versions import NONE_OVERRULED, compare, overruled
from silver_processor.seen.by_market import Market
from silver_processor.seen.rederived import LIVE

_MOMENT = SILVER.field("timestamp").type


class Accepted(Protocol):
    """Where the corrections are (see `silver_processor.inserts.store.Store`)."""

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
    older = pl.DataFrame(valid.filter(pc.less_equal(valid["timestamp"], pa.scalar(now - LIVE, _MOMENT))))
    if not older.height:
        return NONE_OVERRULED
    markets = accepted.corrected_markets(older["exchange"].unique().sort().to_list())
    corrected = pl.DataFrame(markets, schema={"exchange": pl.String, "symbol": pl.String}, orient="row")
    older = older.join(corrected, on=["exchange", "symbol"], how="semi")
    if not older.height:
        return NONE_OVERRULED
    return overruled(compare(older, accepted.corrections(older.to_arrow())))
