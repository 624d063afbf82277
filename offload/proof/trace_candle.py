"""Traces one candle: computed from Silver, in the hot view, and in Iceberg."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, ConfigDict
from pyiceberg.expressions import And

from ddl.layers import Timeframe, load_layers
from offload.clickhouse.client import HotStore
from offload.clickhouse.templates import render
from offload.proof.candle_trades import CandleTrades
from offload.proof.cold_rows import ColdRows, TracedRow, equals
from offload.proof.value_changes import ValueChange, candle_to_candle


class CandleTrace(BaseModel):
    """A candle computed from Silver, from the hot view, and from Iceberg; null where a source does not have it."""

    model_config = ConfigDict(frozen=True)

    timeframe: str
    window_start: datetime
    from_silver: dict[str, Any] | None
    hot: dict[str, Any] | None
    cold: TracedRow | None
    changes: tuple[ValueChange, ...]

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
    changes: list[ValueChange] = []
    if from_silver and in_view:
        changes += candle_to_candle(frame.view, from_silver, in_view)
    before = in_view or from_silver
    if before and cold_row:
        changes += candle_to_candle(f"cold.{frame.view}", before, cold_row.row)
    return CandleTrace(
        timeframe=timeframe,
        window_start=start,
        from_silver=from_silver,
        hot=in_view,
        cold=cold_row,
        changes=tuple(changes),
    )


def compare_with_trades(candle: CandleTrace, trades: CandleTrades) -> tuple[ValueChange, ...]:
    """Compare the trade count of a candle that only Iceberg has with its trades in both tiers.

    `trace_candle` compares a hot candle with Silver.
    """
    if candle.hot or candle.cold is None or trades.only_hot or candle.cold.row["trade_count"] == trades.matches:
        return ()
    expected, shown = str(trades.matches), str(candle.cold.row["trade_count"])
    return (ValueChange(layer=f"cold.{candle.cold.layer}", field="trade_count", before=expected, after=shown),)


def _frame(timeframe: str) -> Timeframe:
    return {frame.code: frame for frame in load_layers().timeframes}[timeframe]
