"""Applies corrections to the stream: a message that contradicts the accepted version of a trade is rejected."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from schemas.records import SILVER
from silver_processor.core.versions import NONE_OVERRULED, compare, overruled
from silver_processor.seen.held_trades import HeldTrades
from silver_processor.seen.rederivations import LIVE

_MOMENT = SILVER.field("timestamp").type


def overruled_rows(held: HeldTrades, valid: pa.Table, now: datetime) -> pl.DataFrame:
    """The valid rows that a correction overrules (see `silver_processor.core.versions.overruled`).

    Only days that are over have corrections, so a batch of live trades needs no query. `now` is UTC.

    Raises:
        WorkerStoppedError: the worker stops.
    """
    older = pl.DataFrame(valid.filter(pc.less_equal(valid["timestamp"], pa.scalar(now - LIVE, _MOMENT))))
    if not older.height:
        return NONE_OVERRULED
    markets = held.corrected_markets(older["exchange"].unique().sort().to_list())
    corrected = pl.DataFrame(markets, schema={"exchange": pl.String, "symbol": pl.String}, orient="row")
    older = older.join(corrected, on=["exchange", "symbol"], how="semi")
    if not older.height:
        return NONE_OVERRULED
    return overruled(compare(older, held.corrections(older.to_arrow())))
