"""Prints the trace of a trade or of a candle for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from decimal import Context, Decimal
from itertools import islice

from cli.common.context import out, print_table
from offload.proof.candle_trades import CandleTrade, CandleTrades
from offload.proof.rejections import Rejection
from offload.proof.trace import Trace
from offload.proof.trace_candle import CandleTrace
from offload.proof.value_changes import CANDLE_NUMBERS, ValueChange

_VALUES = ("price", "quantity", "price_text", "quantity_text", "quote_volume", "side", "timestamp", "timestamp_raw")
_EXACT = Context(prec=100)
# All trades of a candle are printed in tables of so many.
_PAGE_ROWS = 100


def print_trace(trace: Trace) -> None:
    """Print the message, its rows in every layer, its candles, and the values that changed."""
    out.print(f"{trace.exchange} {trace.symbol} {trace.trade_id}: {trace.fate}", style="bold")
    if trace.sum_id:
        out.print(
            f"Silver has it in trade {trace.sum_id}, which sums up several matches. The candles are that trade's."
        )
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
    if trace.rejections:
        print_rejections(trace.rejections)
    if trace.candles:
        print_candles(trace.candles)
    print_changes(trace.changes)


def print_rejections(rejections: Iterable[Rejection]) -> None:
    """Print a line for each dead letter of a trade: what it broke, and whether it came through later."""
    print_table(
        "Rejections",
        ("rejected at", "reason", "field", "value", "rule", "limit", "rules", "raw message", "now"),
        [
            (
                *(one.rejected_at, one.reason, one.field, one.value, one.rule, one.limit, one.rules_version),
                "{}[{}]@{}".format(*one.coordinates[:3]),
                f"sent again {one.sent_at:%Y-%m-%d %H:%M:%S}, in {one.landed}" if one.landed else "open",
            )
            for one in rejections
        ],
    )


def print_candles(candles: Iterable[CandleTrace]) -> None:
    """Print a line for each source that has a candle."""
    candles = list(candles)
    print_table(
        "Candles",
        ("candle", "starts", "source", *CANDLE_NUMBERS),
        [
            (
                candle.timeframe,
                candle.window_start,
                source,
                *(None if row[name] is None else short(Decimal(str(row[name]))) for name in CANDLE_NUMBERS),
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
    for candle in candles:
        if candle.not_compared:
            out.print(f"{candle.timeframe} was not compared with Iceberg: {candle.not_compared}.")


def print_changes(changes: Iterable[ValueChange]) -> None:
    """Print the values that changed, in the order of the layers."""
    print_table(
        "Changed on the way, in the order of the flow",
        ("layer", "field", "before", "after"),
        [(change.layer, change.field, change.before, change.after) for change in changes],
        empty="nothing",
    )


def print_candle_trades(candle: CandleTrace, trades: CandleTrades) -> None:
    """Print how many trades the candle is made of, the first and the last, their raw messages and Iceberg files."""
    out.print(
        f"{trades.counted:,} trades, which stand for {trades.matches:,} matches; {trades.not_counted:,} of a kind that "
        f"candles do not count; {trades.only_hot:,} not in Iceberg yet.",
        style="bold",
    )
    ends = [("first", trades.first), ("last", trades.last)]
    print_table("First and last", ("", *_TRADE_COLUMNS), [(name, *_trade(one)) for name, one in ends if one])
    print_table(
        "Raw messages",
        ("topic", "partition", "first offset", "last offset", "trades"),
        [
            (span.raw_topic, str(span.raw_partition), str(span.first), str(span.last), span.trades)
            for span in trades.offsets
        ],
    )
    candle_file = [(candle.cold.layer, candle.cold.file, candle.cold.snapshot_id, "")] if candle.cold else []
    print_table(
        "Iceberg",
        ("table", "file", "snapshot", "trades"),
        [
            (table, file, "expired" if snapshot is None else str(snapshot), number)
            for table, file, snapshot, number in (
                *candle_file,
                *(("silver_trades", one.file, one.snapshot_id, one.trades) for one in trades.files),
            )
        ],
        empty="neither the candle nor a trade of it yet",
    )


def print_all_trades(trades: Iterator[CandleTrade]) -> None:
    """Print every trade of a candle, in tables of `_PAGE_ROWS` rows, so that a long candle takes no more memory."""
    first = 1
    while page := list(islice(trades, _PAGE_ROWS)):
        title = f"Trades {first:,} to {first + len(page) - 1:,}"
        print_table(title, (*_TRADE_COLUMNS, "counted", "file", "snapshot"), [_trade_in_full(one) for one in page])
        first += len(page)


def short(value: Decimal) -> Decimal:
    """The value without the zeros that Decimal(38, 18) puts after the exchange's digits."""
    return value.normalize(_EXACT)


_TRADE_COLUMNS = ("time", "trade id", "price", "quantity", "side", "kind", "raw message", "payload")


def _trade(one: CandleTrade) -> Sequence[object]:
    place = f"{one.raw_topic}[{one.raw_partition}]@{one.raw_offset}"
    payload = one.payload or "in neither tier any more"
    return (
        one.timestamp,
        one.trade_id,
        short(one.price),
        short(one.quantity),
        one.side,
        one.trade_kind,
        place,
        payload,
    )


def _trade_in_full(one: CandleTrade) -> Sequence[object]:
    return *_trade(one), one.is_counted, one.file or "only hot", "" if one.snapshot_id is None else str(one.snapshot_id)
