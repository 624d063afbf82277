"""Measures the views that analysts ask most, over 500 markets with a month of minutes, as an HTTP client."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.plan import Plan
from bench.stack import Target, http_client
from ddl.layers import load_layers

MARKETS = 500
_DAYS = 31
_WARM_UP = 20
_ASKED = 300
_SQL = Path(__file__).with_name("sql")
# What is asked: the title of each file.
QUERIES = {
    "latest_prices": "latest_prices",
    "latest_prices_live": "latest_prices_live",
    "day_of_minutes": "a market's day of gold_ohlcv_1m",
    "day_of_closes": "the same, open and close only",
}


def measure(target: Target, plan: Plan, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """The time from a query until all bytes of its answer have arrived, and its rows: a dict for each query.

    One client asks one query after the other; `plan.runs` runs, figures are medians.
    """
    client, states = http_client(target.settings), _text("states")
    try:
        for frame in load_layers().timeframes:
            for day in range(_DAYS):
                given = {"frame": frame.seconds, "day": day, "markets": MARKETS}
                client.command(states, parameters=given)
            say(f"Views: {_DAYS} days of {frame.code} are there")
        client.command("OPTIMIZE TABLE gold_ohlcv_state FINAL")  # in a running stack, merges have done this
        client.command("SYSTEM REFRESH VIEW latest_prices_mv")
        client.command("SYSTEM WAIT VIEW latest_prices_mv")
        found = []
        for name, title in QUERIES.items():
            runs = [_ask(client, _text(name)) for _ in range(plan.runs)]
            found.append(
                {"name": name, "query": title} | {key: statistics.median(one[key] for one in runs) for key in runs[0]}
            )
        return found
    finally:
        client.close()


def _ask(client: Any, sql: str) -> dict[str, float]:
    took_ms = []
    for number in range(_WARM_UP + _ASKED):
        started = time.perf_counter()
        client.raw_query(sql, fmt="Native")
        if number >= _WARM_UP:
            took_ms.append(1000 * (time.perf_counter() - started))
    quantiles = statistics.quantiles(took_ms, n=100)
    return {"rows": client.query(sql).row_count, "p50_ms": quantiles[49], "p99_ms": quantiles[98]}


def _text(name: str) -> str:
    return (_SQL / f"{name}.sql").read_text(encoding="utf-8")
