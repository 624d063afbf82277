"""The proof that each match counts once: no two trades of a market stand for the same one."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, ConfigDict

from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.proof.sources import EARLIEST_US, LATEST_US
from offload.tables.slices import micros


class Overlap(BaseModel):
    """So many `trades` of one market stand for matches that another trade counts as well; `trade_id` is the first's."""

    model_config = ConfigDict(frozen=True)

    exchange: str
    symbol: str
    trades: int
    trade_id: str


def find_overlaps(hot: HotStore, start: datetime | None = None, end: datetime | None = None) -> list[Overlap]:
    """Markets of hot Silver whose volume counts twice, by event time in [start, end) (aware; default: all).

    Rows from before 0.2 say one match each, whatever they sum up: nothing shows there.

    Raises:
        HotStoreError: ClickHouse failed.
        ValueError: a time without a zone.
    """
    span: dict[str, str | int | list[str]] = {
        "from_us": micros(start) if start else EARLIEST_US,
        "to_us": micros(end) if end else LATEST_US,
    }
    return [Overlap(**row) for row in hot.rows(render("silver_overlaps.sql"), span)]
