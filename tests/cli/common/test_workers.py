"""Invariant: a dry run says so where a worker validates by other rules, or does not say by which."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from prometheus_client import start_http_server

from cli.common import workers
from cli.common.workers import UNKNOWN, WorkerRules, difference, worker_rules
from config.settings import Settings
from silver_processor.metrics import SilverMetrics

HERE, FILE = "1-aaaa", Path("symbols.yaml")


@contextmanager
def prometheus(status: int, answer: object) -> Iterator[str]:
    """Something that answers every query like this."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_worker_says_by_which_rules_it_validates() -> None:
    metrics = SilverMetrics()
    server, thread = start_http_server(0, "127.0.0.1", metrics.registry)
    url = f"http://127.0.0.1:{server.server_port}/metrics"
    assert workers._ask("silver-0", url) == WorkerRules("silver-0", "", "it has not loaded its rules yet")
    for version in ("1-aaaa", "1-bbbb"):
        metrics.in_force(version)
        assert workers._ask("silver-0", url) == WorkerRules("silver-0", version)
    server.shutdown()
    thread.join()
    server.server_close()
    silent = workers._ask("silver-0", url)
    assert (silent.rules_version, silent.detail) == ("", "its metrics do not answer (ConnectionError)")


def test_deployed_workers_are_asked_by_way_of_prometheus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HOST", "127.0.0.1")
    assert worker_rules(Settings(prometheus_url=""), None) == []
    found = [{"metric": {"instance": f"10.0.0.{n}:9102", "version": HERE}, "value": [0, "1"]} for n in (2, 1)]
    with prometheus(200, {"status": "success", "data": {"result": found}}) as url:
        asked = worker_rules(Settings(prometheus_url=f"{url}/"), None)
    assert asked == [WorkerRules("10.0.0.1:9102", HERE), WorkerRules("10.0.0.2:9102", HERE)]
    with prometheus(503, {}) as url:
        (unknown,) = worker_rules(Settings(prometheus_url=url), None)
    assert unknown.rules_version == ""
    assert "does not say" in unknown.detail


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ([WorkerRules("silver-0", HERE), WorkerRules("silver-1", HERE)], ""),
        ([WorkerRules("silver-0", HERE), WorkerRules("silver-1", "1-bbbb")], "silver-1 by 1-bbbb"),
        ([WorkerRules("silver-0", "", "it has not loaded its rules yet")], "silver-0: it has not loaded its rules yet"),
        ([], UNKNOWN),
    ],
)
def test_a_difference_names_the_worker(found: list[WorkerRules], words: str) -> None:
    said = difference(found, HERE, FILE)
    assert words in said
    assert bool(said) == bool(words)
    assert "silver-0 by" not in said
