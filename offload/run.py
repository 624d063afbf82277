"""The offload: hot rows of every layer to Iceberg, slice by slice, each in one commit that replaces the slice.

Windows go by arrival, so a trade that is late by event time is in the window of the hour it came. A window is exported
when the hot tier holds more of it than at its last export; so rows that become visible after their hour was offloaded
are found by the next run, and a run that repeats another does nothing. It is never exported with fewer rows: the hot
tier forgets, the cold one must not.

Gold is exported by partition (exchange and day or month): the partitions that Silver rows of new windows touched, and
those that were still open at their last export. A candle that is still open is left out, unless `until_now`.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from datetime import datetime

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp, HotStore
from offload.clickhouse.templates import render
from offload.files.attempt import OffloadContext
from offload.files.replace import remove_abandoned_merges
from offload.hourly.arrival_hours import offload_hours
from offload.hourly.candles import offload_gold
from offload.hourly.watermark_copy import copy_watermarks
from offload.report import OffloadReport, OnProgress, SliceReport
from offload.retention.union_views import update_union_views
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import LAYERS, TABLES, Layer
from offload.tables.slices import GRACE_US, HOUR_US, micros


def run(
    settings: Settings,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    until_now: bool = False,
    again: bool = False,
    layers: Collection[Layer] = LAYERS,
    progress: OnProgress = lambda _: None,
    hot: HotStore | None = None,
) -> OffloadReport:
    """Offload the arrival hours in [start, end) (aware times; cut to whole hours; default: all that is hot).

    `until_now` includes the hour and the candles that are still open, marked as not final. `again` exports slices
    that the cold tier has already. `hot` replaces the connection that the settings describe.

    Raises:
        OffloadError: nothing was committed for the slice at hand; what was committed before it stays. Run again.
        ValueError: a time without a zone.
    """
    began = time.monotonic()
    store: HotStore = hot or ClickHouseHttp(settings)
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings.iceberg_namespace)
    now_us = int(store.rows(render("clock.sql"), {})[0]["now_us"])
    closed_us = (now_us - GRACE_US) // HOUR_US * HOUR_US
    latest_us = now_us // HOUR_US * HOUR_US + HOUR_US if until_now else closed_us
    task = OffloadContext(
        hot=store,
        catalog=catalog,
        namespace=settings.iceberg_namespace,
        from_us=micros(start) // HOUR_US * HOUR_US if start else 0,
        to_us=min(latest_us, -(-micros(end) // HOUR_US) * HOUR_US) if end else latest_us,
        now_us=now_us,
        closed_us=closed_us,
        until_now=until_now,
        again=again,
        file_bytes=settings.offload_file_bytes,
        progress=progress,
    )
    done: list[SliceReport] = []
    for cold in TABLES:
        if cold.layer in layers:
            done += offload_gold(task, cold) if cold.layer == "gold" else offload_hours(task, cold)
            if cold.arrival:
                remove_abandoned_merges(task.load(cold))
    copy_watermarks(store, catalog, settings.iceberg_namespace)
    update_union_views(settings, store)
    return OffloadReport(slices=tuple(done), seconds=time.monotonic() - began)
