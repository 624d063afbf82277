"""Measures rate and latency of all contenders in turn, on one broker and one node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bench.plan import FULL, Plan
from bench.silver import backlog, paced
from bench.silver.contest import contenders
from bench.silver.feed import BronzeFeed, Market
from bench.silver.place import open_place
from config.registry import SymbolRegistry
from config.settings import Settings

_RATES = (1_000.0, 10_000.0)
_QUICK_SCALE = 0.25


def measure(plan: Plan, tell: Callable[[str], None]) -> dict[str, Any]:
    """Measure all contenders. `tell` gets messages about the progress.

    Returns:
        `backlog`: a figure for each contender; `latency`: one for each contender and rate.

    Raises:
        StackError: Apache Kafka cannot be started here.
        PlaceError: a contender failed.
    """
    rates: list[dict[str, Any]] = []
    latencies: list[dict[str, Any]] = []
    feed = BronzeFeed(_markets(plan.markets))
    with open_place() as place:
        for contender in contenders(1.0 if plan == FULL else _QUICK_SCALE):
            tell(f"{contender.name}: a backlog of {contender.backlog:,} trades")
            rates.append(backlog.measure(place, contender, feed, plan.runs))
            for rate in _RATES if contender.paced else ():
                tell(f"{contender.name}: {rate:,.0f} trades/s")
                latencies.append(paced.measure(place, contender, feed, rate, plan))
    ours = rates[0]["rows_per_s"]
    return {"backlog": [{**one, "times": ours / one["rows_per_s"]} for one in rates], "latency": latencies}


def _markets(count: int) -> list[Market]:
    lookup = SymbolRegistry.load(Settings().symbols_file).lookup
    pairs = [(row["exchange"], row["exchange_symbol"]) for row in lookup]
    return [Market(exchange, symbol) for exchange, symbol in sorted(pairs) if exchange.startswith("binance")][:count]
