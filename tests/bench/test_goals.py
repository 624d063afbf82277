"""The tables that a result is compared with."""

from __future__ import annotations

from typing import Any

import pytest

from bench.figures import beside_grid, figures, goals_grid, markdown

MACHINE = {
    "cpu": "a CPU",
    "cores": 2,
    "memory_gb": 8,
    "system": "Linux",
    "python": "3.11",
    "commit": "abc",
    "uncommitted_changes": False,
    "load_average": [3.0, 2.0, 1.0],
    "quiet": False,
    "versions": {"chdb-core": "26.9.0"},
}


def latency(rate: float, p50_ms: float, p99_ms: float, *, keeps_up: bool = True) -> dict[str, Any]:
    runs = [{"stack_peak_rss_mb": 500.0}]
    parts = [{"table": "silver_trades", "partition": "20261128", "parts": 7}]
    taken = {"p50_ms": p50_ms, "p99_ms": p99_ms, "stack_cpu_us_per_trade": 30.0, "keeps_up": keeps_up}
    return {"rate": rate, "runs": runs, "parts": parts, **taken}


def sustained(rate: float, cpu_us: float) -> dict[str, Any]:
    return {"trades_per_s": rate, "stack_cpu_us_per_trade": cpu_us, "stack_peak_rss_mb": 1_000.0, "parts": []}


RESULT: dict[str, Any] = {
    "at": "2026-11-28T12:00:00+00:00",
    "machine": MACHINE,
    "plan": "Plan()",
    "latency": [latency(1_000.0, 100.0, 210.0), latency(20_000.0, 9_000.0, 9_999.0, keeps_up=False)],
    "sustained": sustained(100_000.0, 14.0),
    "adr": {"latency": [latency(1_000.0, 450.0, 630.0)], "sustained": sustained(5_000.0, 280.0), "skipped": [20_000.0]},
    "cold": [{"kind": "rederive-look", "rows_per_s": 300_000.0, "peak_rss_mb": 601.0}],
    "idle": {"percent": 4.0},
}


def line(rows: Any, first: str) -> list[str]:
    return next(list(row) for row in rows if row[0].startswith(first))


def test_goals_are_compared_by_what_each_figure_should_be() -> None:
    rows = goals_grid(RESULT).rows
    reached = {
        "trade → candle at 1,000/s, p50": ["100", "must"],
        "trade → candle at 1,000/s, p99": ["210", "no"],
        "sustained raw topic": ["100,000", "aim"],
        "CPU a trade": ["14", "aim"],
        "CPU of an idle": ["4", "must"],
        "re-derivation, dry run, rows/s": ["300,000", "must"],
        "re-derivation, dry run, peak": ["601", "no"],
        "memory of the stack": ["1,049", "must"],
        "parts of one partition after": ["7", "must"],
        # Not measured, or measured of a pipeline that fell behind: no figure.
        "trade → candle at 5,000/s, p50": ["", ""],
        "trade → candle at 20,000/s, p50": ["", ""],
    }
    assert {first: line(rows, first)[4:6] for first in reached} == reached


def test_ours_is_a_ratio_to_the_adr_of_the_same_run() -> None:
    rows = beside_grid(RESULT).rows
    assert line(rows, "sustained rate")[1:] == ["100,000", "5,000", "20.0"]
    assert line(rows, "… CPU a trade")[1:] == ["14", "280", "20.0"]
    assert line(rows, "trade → candle at 1,000/s, p50")[1:] == ["100", "450", "4.5"]
    # Ours fell behind in it; the ADR's was not asked for so much.
    assert line(rows, "trade → candle at 20,000/s, p50")[1:] == ["does not hold", "does not hold", ""]


def test_what_was_not_measured_is_not_said_to_fail() -> None:
    rows = beside_grid({"adr": RESULT["adr"]}).rows
    assert line(rows, "sustained rate")[1:] == ["", "5,000", ""]
    assert line(rows, "trade → candle at 1,000/s, p50")[1:] == ["", "450", ""]


def test_a_baseline_stands_beside_what_is_measured() -> None:
    before = {**RESULT, "sustained": sustained(50_000.0, 28.0)}
    rows = goals_grid(RESULT, before).rows
    assert line(rows, "sustained raw topic")[6:] == ["50,000", "2.0"]
    assert line(rows, "CPU a trade")[6:] == ["28", "2.0"]
    assert line(rows, "trade → candle at 5,000/s, p50")[6:] == ["", ""]


def test_a_result_without_anything_measured_still_has_its_table() -> None:
    assert figures({}) == {}
    assert {tuple(row[4:]) for row in goals_grid({}).rows} == {("", "")}


@pytest.mark.parametrize(("quiet", "warns"), [(True, False), (False, True)])
def test_markdown_says_on_what_it_was_measured(quiet: bool, warns: bool) -> None:
    text = markdown({**RESULT, "machine": {**MACHINE, "quiet": quiet}})
    assert "chdb-core 26.9.0" in text
    assert "load average at the start 3.0, 2.0, 1.0" in text
    assert ("not quiet" in text) is warns
    assert "| sustained raw topic → Gold, trades/s | 33,700 | 65,000 | 100,000 | 100,000 | aim |" in text
