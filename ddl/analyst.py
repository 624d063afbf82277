"""The tables and views that an analyst may read: Silver and the views made for people; Raw where it is asked for."""

from __future__ import annotations

from ddl.layers import load_layers

_VIEWS = (
    "trades",
    "silver_trades",  # a table: the trades with every digit, as docs/analysts.md promises
    "latest_prices",
    "dlq_trades",
    "dlq_resolutions",
    "producer_gaps",
    "offload_progress",
    "left_partitions",  # a table: which view, hot or hot and cold, has a time
    "pipeline_latency",
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
    return (*candles, *union_views, *_VIEWS, *(_RAW if raw else ()))
