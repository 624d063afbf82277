"""Traces one candle: computed from Silver, in the hot view, and in Iceberg."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict
from pyiceberg.expressions import And

from ddl.layers import Timeframe, load_layers
from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.proof.candle_trades import CandleTrades, TradesOfCandle
from offload.proof.cold_rows import ColdRows, TracedRow, equals
from offload.proof.value_changes import ValueChange, candle_to_candle
from offload.tables.cold_tables import BY_NAME
from offload.tables.slice_records import read_ledger, read_left, read_silver_windows


class CandleTrace(BaseModel):
    """A candle computed from hot Silver, from the hot view, and from Iceberg; null where a source does not have it.

    `not_compared`: why sources that differ are no change, "" if they were compared: a source lacks trades that another
    one has, and will have them, or has let go of them.
    """

    model_config = ConfigDict(frozen=True)

    timeframe: str
    window_start: datetime
    from_silver: dict[str, Any] | None
    hot: dict[str, Any] | None
    cold: TracedRow | None
    changes: tuple[ValueChange, ...]
    not_compared: str = ""

    @property
    def is_there(self) -> bool:
        """Whether any source has the candle."""
        return bool(self.from_silver or self.hot or self.cold)


def window_of(timeframe: str, at: datetime) -> tuple[datetime, timedelta]:
    """Start and length of the candle of `timeframe` (`1m` … `1d`) that holds `at`; without a zone, UTC.

    Raises:
        KeyError: there is no such time frame.
    """
    frame = _frame(timeframe)
    moment = at if at.tzinfo else at.replace(tzinfo=UTC)
    return datetime.fromtimestamp(int(moment.timestamp()) // frame.seconds * frame.seconds, UTC), timedelta(
        seconds=frame.seconds
    )


def trace_candle(
    hot: HotStore, cold: ColdRows, timeframe: str, exchange: str, symbol: str, at: datetime
) -> CandleTrace:
    """Trace the candle of `timeframe` that holds `at`, of a canonical symbol.

    Raises:
        KeyError: there is no such time frame.
        OffloadError: ClickHouse or the warehouse fails.
    """
    frame, (start, length) = _frame(timeframe), window_of(timeframe, at)
    span: dict[str, str | int | list[str]] = {
        "exchange": exchange,
        "symbol": symbol,
        "start_s": int(start.timestamp()),
        "seconds": length // timedelta(seconds=1),
    }
    candles = {row.pop("source"): row for row in hot.rows(render("trace_candle.sql", view=frame.exact_view), span)}
    of_market = And(equals("exchange", exchange), equals("symbol", symbol))
    cold_rows = cold.find(frame.view, And(of_market, equals("window_start", start.isoformat())))
    cold_row = next(iter(cold_rows), None)
    from_silver, in_view = candles.get("silver"), candles.get("view")
    silver_left, gold_left = _has_left(cold, "silver_trades", start), _has_left(cold, frame.view, start)
    changes: list[ValueChange] = []
    if from_silver and in_view and not (silver_left or gold_left):
        changes += candle_to_candle(frame.view, from_silver, in_view)
    # Trades that come after their partition has left make a candle of themselves alone.
    whole = (None if gold_left else in_view) or (None if silver_left else from_silver)
    against_cold = candle_to_candle(f"cold.{frame.view}", whole, cold_row.row) if whole and cold_row else []
    not_compared = ""
    if against_cold and not changes and _is_behind(hot, cold, frame, exchange, symbol, start, length):
        against_cold, not_compared = [], "Iceberg lacks trades of it: the next offload takes them"
    elif not whole and cold_row and (in_view or from_silver):
        not_compared = "its earlier trades are in Iceberg only: the hot candle has the later ones alone"
    changes += against_cold
    return CandleTrace(
        timeframe=timeframe,
        window_start=start,
        from_silver=from_silver,
        hot=in_view,
        cold=cold_row,
        changes=tuple(changes),
        not_compared=not_compared,
    )


def _has_left(cold: ColdRows, name: str, start: datetime) -> bool:
    """Whether the gate has dropped the hot partition of a cold table's rows of that time."""
    table = BY_NAME[name]
    period = table.hot_period if table.arrival else table.period
    return (f"{start:%Y%m%d}" if period == "day" else f"{start:%Y%m}") in read_left(cold.properties(name))


def _is_behind(
    hot: HotStore,
    cold: ColdRows,
    frame: Timeframe,
    exchange: str,
    symbol: str,
    start: datetime,
    length: timedelta,
) -> bool:
    """Whether Iceberg lacks trades of a candle: cold Silver does, or cold Gold lacks hours that cold Silver has."""
    offloaded = {name: record.measure for name, record in read_ledger(cold.properties("silver_trades")).items()}
    return (
        offloaded != read_silver_windows(cold.properties(frame.view))
        or TradesOfCandle(hot, cold, exchange, symbol, start, length).lacks_hot()
    )


def compare_with_trades(candle: CandleTrace, trades: CandleTrades) -> tuple[ValueChange, ...]:
    """Compare the trade count of a candle that only Iceberg has whole with its trades in both tiers.

    `trace_candle` compares a hot candle with Silver.
    """
    if candle.cold is None or trades.only_hot or (candle.hot and not candle.not_compared):
        return ()
    if candle.cold.row["trade_count"] == trades.matches:
        return ()
    expected, shown = str(trades.matches), str(candle.cold.row["trade_count"])
    return (ValueChange(layer=f"cold.{candle.cold.layer}", field="trade_count", before=expected, after=shown),)


def _frame(timeframe: str) -> Timeframe:
    return {frame.code: frame for frame in load_layers().timeframes}[timeframe]
