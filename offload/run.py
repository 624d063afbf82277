"""The offload: hot rows of every layer to Iceberg, slice by slice. One commit replaces a slice.

A slice is an arrival hour, so a trade that is late by event time is in the hour in which it arrived. A run exports an
hour if the hot tier has more rows of it than at its last export. So the next run finds rows that became visible after
their hour was offloaded, and a repeated run changes nothing. An hour is never exported with fewer rows than before: the
hot tier drops old rows, and the cold tier keeps them.

A slice of Gold is a partition (exchange and day or month). A run exports the partitions that Silver rows of new hours
touch, and those that were open at their last export. It leaves out open candles, unless `until_now`.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import datetime

from offload.clickhouse.server import server_now_us
from offload.clickhouse.tiers import Tiers
from offload.files.replace import remove_abandoned_merges
from offload.files.version_hint import publish_hints
from offload.hourly.arrival_hours import offload_hours
from offload.hourly.candles import offload_gold
from offload.hourly.context import OffloadContext
from offload.hourly.watermark_copy import copy_watermarks
from offload.report import OffloadReport, OnProgress, SliceReport
from offload.retention.union_views import update_union_views
from offload.tables.cold_tables import LAYERS, TABLES, Layer
from offload.tables.slices import GRACE_US, HOUR_US, micros


def run(
    tiers: Tiers,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    until_now: bool = False,
    again: bool = False,
    layers: Collection[Layer] = LAYERS,
    progress: OnProgress = lambda _: None,
) -> OffloadReport:
    """Offload the arrival hours in [start, end) (aware times, cut to whole hours; default: all hot hours).

    `until_now` includes the open hour and open candles, recorded as not final. `again` also exports slices
    that the cold tier already has.

    Raises:
        OffloadError: the current slice was not committed; earlier slices were. Run again.
        ValueError: a time without a zone.
    """
    began = time.monotonic()
    now_us = server_now_us(tiers.hot)
    closed_us = (now_us - GRACE_US) // HOUR_US * HOUR_US
    latest_us = now_us // HOUR_US * HOUR_US + HOUR_US if until_now else closed_us
    context = OffloadContext(
        tiers=tiers,
        from_us=micros(start) // HOUR_US * HOUR_US if start else 0,
        to_us=min(latest_us, -(-micros(end) // HOUR_US) * HOUR_US) if end else latest_us,
        now_us=now_us,
        closed_us=closed_us,
        until_now=until_now,
        again=again,
        progress=progress,
    )
    done: list[SliceReport] = []
    for cold in TABLES:
        if cold.layer in layers:
            done += offload_gold(context, cold) if cold.layer == "gold" else offload_hours(context, cold)
            if cold.arrival:
                remove_abandoned_merges(tiers.cold.load(cold))
    tables = publish_hints(tiers.cold)
    copy_watermarks(tiers.hot, tables)
    update_union_views(tiers.hot, tables)
    return OffloadReport(slices=tuple(done), seconds=time.monotonic() - began)
