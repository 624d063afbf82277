"""`medallion smoke`: what it finds on a stack that works, on one without trades, and of watchers that answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from cli.stack.smoke import check
from config.settings import Settings
from tests.http_server import serving
from tests.stack.conftest import Medallion

ANSWERS: dict[str, Any] = {
    "/api/v1/targets": {"data": {"activeTargets": [{"labels": {"job": "clickhouse"}, "health": "up"}]}},
    "/api/v1/rules": {"data": {"groups": [{"rules": [{}, {}]}]}},
    "/api/search": [{"uid": "pipeline"}],
    "/api/dashboards/uid/pipeline": {},
    "/api/datasources": [{"uid": "clickhouse", "name": "ClickHouse"}],
    "/api/datasources/uid/clickhouse/health": {"status": "OK"},
}


# Its siblings: test_watchers_that_answer and its neighbours have each check.
@pytest.mark.nightly
@pytest.mark.stack
def test_a_stack_without_trades_fails_and_one_with_them_passes(
    stack: Path, medallion: Medallion, recordings: Path
) -> None:
    def smoke(timeout: str) -> tuple[int, dict[str, dict[str, Any]], str]:
        done = medallion("smoke", "--json", "--timeout", timeout, "--data-dir", stack, check=False)
        return done.returncode, {result["name"]: result for result in json.loads(done.stdout)}, done.stderr

    code, results, said = smoke("0")
    assert code == 1
    assert results["candles"]["outcome"] == results["offload"]["outcome"] == "failed"
    assert "gold_ohlcv_1m is empty" in results["candles"]["detail"]
    assert "candles" in said

    medallion("replay", recordings / "kraken_v2_btcusd.jsonl", "--exchange", "kraken", "--data-dir", stack)
    code, results, said = smoke("60")
    outcomes = {name: result["outcome"] for name, result in results.items()}
    assert outcomes == {
        "candles": "ok",
        "dead letters": "ok",
        "offload": "ok",
        "metrics": "skipped",
        "dashboards": "skipped",
    }, said
    assert code == 0
    assert "exchange_unknown" in results["dead letters"]["detail"]
    dead_letters = medallion("query", "SELECT exchange, reason FROM dlq_trades WHERE reason != ''", "--data-dir", stack)
    assert set(dead_letters.stdout.splitlines()) == {"smoke\texchange_unknown"}
    medallion("lineage", "verify", "--data-dir", stack)


@pytest.fixture
def answers() -> dict[str, Any]:
    return dict(ANSWERS)


@pytest.fixture
def settings(answers: dict[str, Any]) -> Iterator[Settings]:
    """Settings of a Prometheus and a Grafana that answer `answers`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = answers.get(self.path.partition("?")[0])
            allowed = self.path.startswith("/api/v1") or self.headers.get("Authorization", "").startswith("Basic ")
            body = json.dumps(found).encode()
            self.send_response(200 if found is not None and allowed else 500)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Handler) as port:
        address = f"http://127.0.0.1:{port}"
        yield Settings(prometheus_url=address, grafana_url=f"{address}/")


def test_watchers_that_answer(settings: Settings) -> None:
    assert check("metrics", settings, 0).detail == "1 targets, up: clickhouse; 2 rules"
    assert check("dashboards", settings, 0).detail == "1 dashboards; data sources that answer: ClickHouse"


@pytest.mark.parametrize(
    ("name", "path", "answer", "says"),
    [
        ("metrics", "/api/v1/targets", {"data": {"activeTargets": []}}, "reaches none of its targets"),
        ("metrics", "/api/v1/rules", {"data": {"groups": []}}, "has no rules"),
        ("dashboards", "/api/search", [], "has no dashboard"),
        ("dashboards", "/api/dashboards/uid/pipeline", None, "uid/pipeline answered 500"),
        ("dashboards", "/api/datasources/uid/clickhouse/health", None, "clickhouse/health answered 500"),
    ],
)
def test_a_watcher_that_lacks_something_fails_by_name(
    settings: Settings, answers: dict[str, Any], name: str, path: str, answer: Any, says: str
) -> None:
    answers[path] = answer
    result = check(name, settings, 0)
    assert result.outcome == "failed"
    assert says in result.detail


def test_a_watcher_that_is_away_fails(settings: Settings) -> None:
    assert check("metrics", Settings(prometheus_url="http://127.0.0.1:1"), 0).outcome == "failed"
