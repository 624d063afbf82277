"""The tables and views that an analyst may read, and those that `SHOW TABLES` lists for an analyst."""

from __future__ import annotations

from ddl.layers import load_layers
from series.declaration import load_series

# The tables for daily work, besides the candles.
_DAILY = (
    "trades",
    "silver_trades",  # a table: the trades with every digit (docs/analysts.md)
    "latest_prices",
    "dlq_trades",
    "producer_gaps",
)
_OTHERS = (
    "latest_prices_live",
    "candles_as_text",  # for the page's service
    "dlq_resolutions",
    "offload_progress",
    "left_partitions",  # a table: which times are only in the views over hot and cold rows
    "pipeline_latency",
    # The tables of all series together, and the comparison of our candles with the exchanges' (docs/series.md).
    "series_dead_letters",
    "series_stored",
    "series_days",
    "quality_checks",
    "quality_anomalies",
    "retention",
)
_RAW = ("trades_raw", "trades_raw_all")


def analyst_tables(*, raw: bool = False) -> tuple[str, ...]:
    """The tables and views that an analyst may read. `raw`: with those of the raw messages.

    The views over cold rows exist only after the first offload.
    """
    layers = load_layers()
    candles = (view for frame in layers.timeframes for view in (frame.view, frame.exact_view))
    union_views = (name for name in layers.union_views if name not in _RAW)
    series_names = (name for series in load_series() for name in (*series.views, series.snapshots))
    return (*candles, *union_views, *_DAILY, *series_names, *_OTHERS, *(_RAW if raw else ()))


def listed_tables() -> tuple[str, ...]:
    """The tables and views that `SHOW TABLES` lists for an analyst: few, so that the list fits on a screen.

    The others of `analyst_tables` can be queried, but are not listed. A row policy on `system.tables` hides them: in
    `users.xml` of the Compose stack, and in `node-users.xml` of the embedded node.
    """
    return (*(frame.view for frame in load_layers().timeframes), *_DAILY)
