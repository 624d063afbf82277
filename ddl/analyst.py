"""The tables and views that an analyst may read: Silver and the views made for people."""

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
    "pipeline_latency",
    "retention",
)


def analyst_tables() -> tuple[str, ...]:
    """Names in the pipeline's database. The views over cold rows exist only after the first offload."""
    layers = load_layers()
    candles = (view for frame in layers.timeframes for view in (frame.view, frame.exact_view))
    return (*candles, *layers.union_views, *_VIEWS)
