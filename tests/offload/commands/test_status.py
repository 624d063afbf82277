"""Invariant: `medallion status` of a deployed stack is healthy only while broker, ClickHouse and Prometheus answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from typer.testing import CliRunner

from cli.main import app
from config.settings import Settings
from deploy.embedded.ports import free_ports
from tests.clickhouse import ENVIRONMENT
from tests.offload.hot_tables import HotTables


@pytest.fixture
def deployed(settings: Settings, hot: HotTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The environment names the node's ClickHouse and a broker with nothing in its topics."""
    del hot
    cluster = Producer({"test.mock.num.brokers": 1})
    known = Settings()
    for topic in (*known.raw_topics, known.bronze_topic, known.dlq_topic):
        brokers = cluster.list_topics(topic, timeout=30).brokers.values()
    names = {"clickhouse_host", "clickhouse_http_port", "clickhouse_database"}
    given = {f"MEDALLION_{name}".upper(): str(value) for name, value in settings.model_dump(include=names).items()}
    given["MEDALLION_KAFKA_BOOTSTRAP_SERVERS"] = ",".join(f"{one.host}:{one.port}" for one in brokers)
    for name, value in (given | {"XDG_STATE_HOME": str(tmp_path), **ENVIRONMENT}).items():
        monkeypatch.setenv(name, value)
    yield
    cluster.flush(0)


def status() -> tuple[int, dict[str, Any], str]:
    """Exit code, what `--json` says, and what a reader sees, without line breaks."""
    shown = CliRunner().invoke(app, ["status"])
    said = CliRunner().invoke(app, ["status", "--json"])
    assert shown.exit_code == said.exit_code, shown.output
    return shown.exit_code, json.loads(said.stdout), " ".join(shown.stdout.split())


def test_a_part_that_is_away_is_said(deployed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    code, said, shown = status()
    assert (code, said["state"], said["detail"]) == (0, "healthy", ""), shown
    assert "Behind: nothing" in shown

    (nobody,) = free_ports(1)
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HTTP_PORT", str(nobody))
    code, said, shown = status()
    away = f"ClickHouse at 127.0.0.1:{nobody} does not answer"
    assert (code, said["state"], {lag["messages"] for lag in said["lag"]}) == (1, "degraded", {0})
    assert away in said["detail"]
    assert away in shown


def test_who_cannot_know_the_alerts_is_not_told_that_all_is_well(
    deployed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody, clickhouse = free_ports(2)
    monkeypatch.setenv("MEDALLION_PROMETHEUS_URL", f"http://127.0.0.1:{nobody}")
    code, said, shown = status()
    away = f"Prometheus does not answer at http://127.0.0.1:{nobody}"
    assert (code, said["state"], {lag["messages"] for lag in said["lag"]}) == (3, "unwatched", {0})
    assert away in said["detail"]
    assert away in said["alerts"]
    assert away in shown
    # What is known to be broken is worse.
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HTTP_PORT", str(clickhouse))
    code, said, _ = status()
    assert (code, said["state"]) == (1, "degraded")
    assert away in said["detail"]


def test_a_broker_that_is_away_hides_nothing_else(deployed: None, monkeypatch: pytest.MonkeyPatch) -> None:
    (nobody,) = free_ports(1)
    monkeypatch.setenv("MEDALLION_KAFKA_BOOTSTRAP_SERVERS", f"127.0.0.1:{nobody}")
    monkeypatch.setattr("cli.common.lag.TIMEOUT_S", 0.5)
    code, said, shown = status()
    assert (code, said["state"], said["lag"]) == (1, "degraded", None)
    assert f"The broker at 127.0.0.1:{nobody} does not answer" in shown
    assert "Endpoints" in shown
    assert "Behind" not in shown
