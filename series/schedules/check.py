"""One scheduled quality check: for each market from the end of the last good check to the newest stored bar."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial

import structlog

from series.errors import SeriesError
from series.quality.anomalies import Anomaly
from series.quality.check import Market, MarketReport, QualityCheck, yesterday
from series.run import Around, directly
from series.store import SeriesStore

# Older trades may have left for Iceberg, and their candles would seem to be missing (ddl/layers.yaml: 30 days).
REACH = timedelta(days=28)
_log = structlog.get_logger(__name__)


class _StoppedError(SeriesError):
    """The service stops. It ends the thread of a cancelled check and is never shown."""


@dataclass(slots=True)
class CheckReport:
    """The result of a check.

    `markets`: those with new bars. `checked_until`: by market, where the next check begins (UTC). `anomalies`: since
    yesterday.
    """

    markets: list[MarketReport] = field(default_factory=list)
    checked_until: dict[str, datetime] = field(default_factory=dict)
    anomalies: list[Anomaly] = field(default_factory=list)


async def check_landed(
    store: SeriesStore,
    markets: Sequence[Market],
    checked_until: Mapping[str, datetime],
    now: datetime,
    around: Around = directly,
) -> CheckReport:
    """Check each market from the end of the last good check, or from yesterday, to its newest bar.

    A window that is `late` is not finished, so the next check begins with it. If the task is cancelled, the thread ends
    after the current day.

    Args:
        store: has candles and bars.
        markets: whose bars are stored.
        checked_until: by name of the market, as the last good check returned it (UTC).
        now: the time now, UTC.
        around: runs the work of each market.

    Raises:
        StoreError: ClickHouse is away.
    """
    report, checking, stopped = CheckReport(), QualityCheck(store), threading.Event()

    def day_done() -> None:
        if stopped.is_set():
            raise _StoppedError("the schedules stop")

    async def check(market: Market) -> None:
        last = checked_until.get(market.name, yesterday(now))
        start = max(last, now - REACH)
        if start > last:
            _log.warning("too old to check", market=market.name, since=last.isoformat(), until=start.isoformat())
        found = await asyncio.to_thread(checking.run, market, start, market.bars_end, day_done)
        report.checked_until[market.name] = found.checked_until or start
        if found.windows:
            report.markets.append(found)

    try:
        for market in markets:
            # One market at a time, so that other queries stay fast.
            await around(market.name, partial(check, market))
    finally:
        stopped.set()
    return report
