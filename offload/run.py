"""The offload: hot rows of every layer to Iceberg, slice by slice. One commit replaces a slice.

Slices are arrival hours, so a trade that is late by event time is in the hour in which it came. An hour is exported
when the hot tier has more rows of it than at its last export. So rows that become visible after their hour was
offloaded are found by the next run, and a run that repeats another does nothing. An hour is never exported with fewer
rows, since the hot tier drops its rows and the cold tier must not.

Gold is exported by partition (exchange and day or month): those that Silver rows of new hours touch, and those that
were open at their last export. An open candle is left out, unless `until_now`.
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

    `until_now` includes the open hour and open candles, recorded as not final. `again` exports slices that the cold
    tier has already.

    Raises:
        OffloadError: nothing was committed for the slice at hand; what was committed before it stays. Run again.
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
