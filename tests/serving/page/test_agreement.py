"""Invariant: the page says of each candle what the newest quality check found, and nothing of the others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
import requests

from config.settings import Settings
from tests.offload.hot_tables import HotTables
from tests.serving.running import running

FIRST = datetime(2024, 8, 9, 12, tzinfo=UTC)
FIRST_MS, MINUTE_MS = 1_723_204_800_000, 60_000
CHECKED, CHECKED_MS = datetime(2024, 8, 10, 0, 0, 1, 250_000, UTC), 1_723_248_001_250
NOTHING: dict[str, Any] = {"result": "equal", "cause": "", "detail": "", "differing": [], "ours": [], "theirs": []}


def verdict(minute: int, *, compared: int = 8, **other: Any) -> dict[str, Any]:
    """A row of quality_checks_log: equal, unless `other` says more."""
    market = {
        "exchange": "kraken",
        "symbol": "BTCUSD",
        "frame": "1m",
        "window_start": FIRST + timedelta(minutes=minute),
    }
    return market | NOTHING | {"compared": compared, "trade_ids": [], "checked_at": CHECKED} | other


@pytest.fixture
def url(settings: Settings, hot: HotTables) -> Iterator[str]:
    close = {"differing": ["close"], "ours": ["60000.1"], "theirs": ["60000.2"]}
    volumes = {"differing": ["volume", "quote_volume"], "ours": ["1.5", ""], "theirs": ["1.25", "90000.125"]}
    rounded = {"differing": ["quote_volume"], "ours": ["0.123456789"], "theirs": ["0.12345679"]}
    rows = [
        verdict(0),
        verdict(1, result="different", cause="missing_trade", detail="0.25 at 7\u202e", **volumes),
        # Two checks of one window: the newer one counts, whichever came in first.
        verdict(2, checked_at=CHECKED),
        verdict(2, checked_at=CHECKED - timedelta(hours=1), result="different", cause="unexplained", **close),
        verdict(3, result="different", cause="rounding", detail="fewer digits", **rounded),
        verdict(4, result="no_bar", cause="no_bar", detail="not stored", compared=0),
        verdict(5, result="no_candle", cause="gap", detail="a gap", compared=0, **close | {"ours": [""]}),
        verdict(6, compared=0),  # nothing was traded
        verdict(8, result="different", cause="of_tomorrow", **close),
        verdict(1, frame="1h"),
        verdict(1, exchange="coinbase"),
        verdict(1, symbol="ETHUSD"),
    ]
    texts, times = pl.List(pl.String), pl.Datetime("us", "UTC")
    types = {"differing": texts, "ours": texts, "theirs": texts, "trade_ids": texts, "compared": pl.UInt8}
    for row in rows:  # an insert each, as several checks do
        frame = pl.DataFrame([row], schema_overrides={**types, "window_start": times, "checked_at": times})
        hot.insert("quality_checks_log", frame)
    with running(settings) as address:
        yield address


def ask(url: str, status: int = 200, **given: Any) -> Any:
    asked = {"exchange": "kraken", "symbol": "BTCUSD", "interval": "1m"} | given
    answer = requests.get(f"{url}/v1/agreement", params=asked, timeout=60)
    assert answer.status_code == status, answer.text
    return answer.json()["verdicts"] if status == 200 else answer.json()["code"]


def minutes(found: list[dict[str, Any]]) -> list[int]:
    return [(one["openTime"] - FIRST_MS) // MINUTE_MS for one in found]


def test_the_newest_verdict_of_each_candle(url: str) -> None:
    hour = {"startTime": FIRST_MS, "endTime": FIRST_MS + 60 * MINUTE_MS}
    found = ask(url, **hour)
    assert [(one["result"], one["agrees"], one["cause"], one["detail"]) for one in found] == [
        ("equal", True, "", ""),
        ("different", False, "missing_trade", "0.25 at 7\u202e"),
        ("equal", True, "", ""),
        ("different", True, "rounding", "fewer digits"),
        ("no_bar", False, "no_bar", "not stored"),
        ("no_candle", False, "gap", "a gap"),
        ("different", False, "of_tomorrow", ""),
    ]
    assert minutes(found) == [0, 1, 2, 3, 4, 5, 8]
    assert found[1] == {
        "openTime": FIRST_MS + MINUTE_MS,
        "result": "different",
        "agrees": False,
        "cause": "missing_trade",
        "meaning": "the venue counts trades that Silver does not have",
        "detail": "0.25 at 7\u202e",
        "differing": [
            {"cell": "volume", "ours": "1.5", "theirs": "1.25"},
            {"cell": "quote_volume", "ours": "", "theirs": "90000.125"},
        ],
        "checked": CHECKED_MS,
    }
    assert found[6]["meaning"] == ""
    assert minutes(ask(url, **hour, interval="1h")) == [1]
    assert minutes(ask(url, **hour, symbol="ETHUSD")) == [1]
    assert ask(url, **hour, interval="3m") == []


def test_both_ends_and_the_limit_bound_the_answer(url: str) -> None:
    third = FIRST_MS + 2 * MINUTE_MS
    assert minutes(ask(url, startTime=third, endTime=third)) == [2]
    assert minutes(ask(url, startTime=third + 1, endTime=third + 2 * MINUTE_MS)) == [3, 4]
    assert minutes(ask(url, startTime=0, endTime=third, limit=2)) == [0, 1]


def test_a_wrong_question_is_refused(url: str) -> None:
    wrong: dict[int, list[dict[str, Any]]] = {
        -1102: [{"endTime": 1}, {"startTime": 1}],
        -1128: [{"startTime": 2, "endTime": 1}],
        -1100: [{"startTime": "x", "endTime": 1}],
        -1130: [{"startTime": 1, "endTime": 1, "limit": 0}, {"startTime": 1, "endTime": 1, "exchange": "nosuch"}],
        -1121: [{"startTime": 1, "endTime": 1, "symbol": "NOSUCH"}],
        -1120: [{"startTime": 1, "endTime": 1, "interval": "7m"}],
        -1104: [{"startTime": 1, "endTime": 1, "other": "1"}],
    }
    assert {code: {ask(url, 400, **given) for given in asked} for code, asked in wrong.items()} == {
        code: {code} for code in wrong
    }
