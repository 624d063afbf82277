"""What an analyst may read: Silver and the views made for people, Raw where it is asked for. What of it is listed."""

from __future__ import annotations

from ddl.layers import load_layers
from series.declaration import load_series

# What a day's work takes, beside the candles.
_OF_A_DAY = (
    "trades",
    "silver_trades",  # a table: the trades with every digit, as docs/analysts.md promises
    "latest_prices",
    "dlq_trades",
    "producer_gaps",
)
_OTHERS = (
    "dlq_resolutions",
    "offload_progress",
    "left_partitions",  # a table: which view, hot or hot and cold, has a time
    "pipeline_latency",
    # What all series share, and how our candles compare with the exchanges' (docs/series.md).
    "series_dead_letters",
    "series_stored",
    "series_days",
    "quality_checks",
    "quality_anomalies",
    "retention",
)
_RAW = ("trades_raw", "trades_raw_all")


def analyst_tables(*, raw: bool = False) -> tuple[str, ...]:
    """Names in the pipeline's database, with `raw` also those of the raw messages.

    The views over cold rows exist only after the first offload.
    """
    layers = load_layers()
    candles = (view for frame in layers.timeframes for view in (frame.view, frame.exact_view))
    union_views = (name for name in layers.union_views if name not in _RAW)
    series = (name for one in load_series() for name in (*one.views, one.snapshots))
    return (*candles, *union_views, *_OF_A_DAY, *series, *_OTHERS, *(_RAW if raw else ()))


def listed_tables() -> tuple[str, ...]:
    """What `SHOW TABLES` lists for an analyst, so that it fits a screen. The rest of `analyst_tables` answers by name.

    A row policy on `system.tables` does it: in compose's `users.xml`, and in `node-users.xml` of the embedded node.
    """
    return (*(frame.view for frame in load_layers().timeframes), *_OF_A_DAY)
