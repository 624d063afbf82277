"""A trade's way through the layers, for people."""

from __future__ import annotations

from collections.abc import Iterable

from cli.common.context import out, print_table
from offload.proof.value_changes import CANDLE_NUMBERS, ValueChange
from offload.proof.trace import CandleTrace, Trace

_VALUES = ("price", "quantity", "price_text", "quantity_text", "quote_volume", "side", "timestamp", "timestamp_raw")


def print_trace(trace: Trace) -> None:
    """The message, where it was seen, its candles, and what changed."""
    out.print(f"{trace.exchange} {trace.symbol} {trace.trade_id}: {trace.fate}", style="bold")
    if trace.coordinates:
        topic, partition, offset, published = trace.coordinates
        out.print(f"Kafka {topic} partition {partition} offset {offset}, published {published:%Y-%m-%d %H:%M:%S.%f}")
    if trace.message:
        out.print(f"message {trace.message}")
    print_table(
        "Rows",
        ("layer", "tier", "values", "snapshot", "file"),
        [
            (
                sighting.layer,
                sighting.tier,
                " ".join(str(sighting.row[name]) for name in _VALUES if name in sighting.row),
                str(sighting.snapshot_id or ""),
                sighting.file,
            )
            for sighting in trace.sightings
        ],
    )
    if trace.candles:
        print_candles(trace.candles)
    print_changes(trace.changes)


def print_candles(candles: Iterable[CandleTrace]) -> None:
    """A line for each place that has a candle."""
    candles = list(candles)
    print_table(
        "Candles",
        ("candle", "starts", "source", *CANDLE_NUMBERS),
        [
            (
                candle.timeframe,
                candle.window_start,
                source,
                *("" if row[name] is None else str(row[name]) for name in CANDLE_NUMBERS),
            )
            for candle in candles
            for source, row in (
                ("from Silver", candle.from_silver),
                ("hot", candle.hot),
                ("cold", candle.cold.row if candle.cold else None),
            )
            if row
        ],
    )


def print_changes(changes: Iterable[ValueChange]) -> None:
    """What was changed, first to last."""
    print_table(
        "Changed on the way, in the order of the flow",
        ("layer", "field", "before", "after"),
        [(change.layer, change.field, change.before, change.after) for change in changes],
        empty="nothing",
    )
