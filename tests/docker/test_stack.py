"""The true images: Redpanda, ClickHouse with its own Kafka engine, MinIO, Lakekeeper, Prometheus, Grafana.

`make test-docker`. Written against the images' documentation on a machine without a Docker engine.
"""

from __future__ import annotations

import json

import pytest
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.docker.conftest import Compose

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1800)]


def clickhouse(compose: Compose, sql: str, *, check: bool = True) -> str:
    """The answer of the server's own client, as its local user."""
    return compose(
        "exec", "-T", "clickhouse", "clickhouse-client", "--database", "medallion", "--query", sql, check=check
    )


def medallion(compose: Compose, *arguments: str) -> str:
    """A command with the operator's logins."""
    return compose("run", "--rm", "-T", "medallion", *arguments)


def smoke(compose: Compose) -> dict[str, str]:
    results = json.loads(medallion(compose, "smoke", "--json", "--timeout", "300"))
    return {result["name"]: result["outcome"] for result in results}


def test_candles_dead_letters_offload_and_dashboards_answer(compose: Compose) -> None:
    assert set(smoke(compose).values()) == {"ok"}


def test_the_migrations_made_tables_of_the_real_kafka_engine(compose: Compose) -> None:
    engines = clickhouse(compose, "SELECT name FROM system.tables WHERE database = 'medallion' AND engine = 'Kafka'")
    assert {"trades_raw_queue", "bronze_trades_sink", "dlq_trades_queue"} <= set(engines.split())
    errors = clickhouse(compose, "SELECT exceptions.text FROM system.kafka_consumers WHERE notEmpty(exceptions.text)")
    assert errors == ""
    medallion(compose, "ddl", "status")


def test_every_message_is_in_exactly_one_place(compose: Compose) -> None:
    """The recordings end; then the count holds."""
    for attempt in Retrying(
        retry=retry_if_exception_type(AssertionError), stop=stop_after_delay(300), wait=wait_fixed(5)
    ):
        with attempt:
            medallion(compose, "lineage", "verify")
    rows = int(clickhouse(compose, "SELECT count() FROM silver_trades"))
    assert rows > 100
    assert int(clickhouse(compose, "SELECT sum(trade_count) FROM gold_ohlcv_1d")) == rows


def test_a_killed_server_and_worker_lose_nothing(compose: Compose) -> None:
    before = int(clickhouse(compose, "SELECT count() FROM silver_trades"))
    compose("kill", "--signal", "SIGKILL", "clickhouse", "silver-processor")
    compose("up", "--detach", "--wait", "clickhouse", "silver-processor")
    assert int(clickhouse(compose, "SELECT count() FROM silver_trades")) >= before
    assert smoke(compose)["dead letters"] == "ok"
    medallion(compose, "lineage", "verify")


def test_an_analyst_reads_and_a_producer_cannot(compose: Compose) -> None:
    login = '--user analyst --password "$CLICKHOUSE_ANALYST_PASSWORD" --database medallion'
    ask = ("exec", "-T", "clickhouse", "sh", "-c")
    assert int(compose(*ask, f"clickhouse-client {login} --query 'SELECT count() FROM silver_trades'")) > 0
    refused = compose(*ask, f"clickhouse-client {login} --query 'TRUNCATE TABLE silver_trades'", check=False)
    assert "ACCESS_DENIED" in refused or "READONLY" in refused
    read = "rpk topic consume market.crypto.trades.bronze --num 1 -X user=producer -X pass=$KAFKA_PRODUCER_PASSWORD"
    refused = compose("run", "--rm", "-T", "--entrypoint", "/bin/sh", "topics", "-c", f"timeout 20 {read}", check=False)
    assert "AUTHORIZATION_FAILED" in refused


def test_a_second_worker_takes_its_share(compose: Compose) -> None:
    compose("up", "--detach", "--wait", "--scale", "silver-processor=2", "silver-processor")
    assert smoke(compose)["dead letters"] == "ok"
    members = compose("exec", "-T", "redpanda", "rpk", "group", "describe", "silver")
    assert "MEMBERS" in members
    assert "2" in next(line for line in members.splitlines() if line.startswith("MEMBERS"))
