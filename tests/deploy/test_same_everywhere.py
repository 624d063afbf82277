"""The embedded stack and compose run one code: this lists what differs. It is endpoints and engine clauses only."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import cli.migrations
import ddl.runner
from config.settings import Settings
from ddl.render import render, render_journal
from ddl.statements import MigrationStatement, ObjectKind
from deploy.embedded import services as embedded
from deploy.embedded import supervisor
from deploy.embedded.clickhouse.kafka.definition import VIRTUAL_COLUMNS, parse_kafka_table
from deploy.embedded.kafka import topics
from deploy.embedded.layout import BrokerKind, DataDir
from deploy.embedded.services import Ports, Service
from tests.deploy.compose.test_topics import create_topics
from tests.deploy.test_settings_known import settings_of

__all__ = ["create_topics"]

# Every setting whose value differs between the two, and what kind of difference that is.
ENDPOINTS = {
    "kafka_bootstrap_servers",
    "clickhouse_host",
    "clickhouse_port",
    "clickhouse_http_port",
    "clickhouse_kafka_brokers",
    "iceberg_catalog_uri",
    "iceberg_warehouse",
    "s3_endpoint",
    "s3_region",
    "metrics_host",
    "metrics_port",
    "prometheus_url",
    "alertmanager_url",
    "grafana_url",
    "symbols_file",
    "schedules_file",
    "serving_host",
}
# How one logs in at an endpoint.
LOGINS = {
    "kafka_security_protocol",
    "kafka_sasl_username",
    "kafka_sasl_password",
    "clickhouse_user",
    "clickhouse_password",
    "serving_token",
    "grafana_password",
    "s3_access_key_id",
    "s3_secret_access_key",
}
# What the in-memory broker can hold; Apache Kafka in its place has compose's value.
OF_THE_IN_MEMORY_BROKER = {"publish_max_unconsumed_bytes"}
# The service of compose that does what a process of the embedded stack does.
COUNTERPARTS = {"silver-0": "silver-processor", "offload": "offload", "schedules": "schedules"}
PORTS = Ports(9000, 8123, (9102,))


def embedded_environment(folder: Path, broker: BrokerKind) -> dict[str, str]:
    directory = DataDir(folder / "stack")
    directory.create()
    return embedded.stack_environment(directory, PORTS, broker, "127.0.0.1:1", {})


def processes(folder: Path) -> dict[str, Service]:
    """The embedded stack's processes that are ours and no stand-in."""
    environment = embedded_environment(folder, "kafka")
    found = [
        embedded.silver_service(0, PORTS, environment),
        embedded.offload_service(9103, environment),
        embedded.schedules_service(DataDir(folder / "stack"), 9104, environment),
    ]
    return {service.name: service for service in found}


def program(argv: list[str]) -> list[str]:
    """A command line with the interpreter's path and the console script spelled alike."""
    words = ["python" if word == sys.executable else word for word in argv]
    return ["medallion", *words[3:]] if words[:3] == ["python", "-m", "cli"] else words


def test_services_have_one_entry_point(tmp_path: Path, services: dict[str, Any]) -> None:
    for name, service in processes(tmp_path).items():
        other = services[COUNTERPARTS[name]]
        assert program(list(service.argv)) == [*other.get("entrypoint", ["medallion"]), *other["command"]], name


def test_migrations_are_applied_by_one_function(services: dict[str, Any]) -> None:
    assert services["ddl"]["command"] == ["ddl", "apply"]
    assert cli.migrations.runner is ddl.runner
    assert supervisor.apply_migrations is ddl.runner.apply


@pytest.mark.parametrize(("broker", "besides"), [("kafka", set()), ("memory", OF_THE_IN_MEMORY_BROKER)])
def test_settings_differ_in_endpoints_only(
    tmp_path: Path, ours: dict[str, Any], broker: BrokerKind, besides: set[str]
) -> None:
    here = Settings.from_environment(embedded_environment(tmp_path, broker) | {"MEDALLION_METRICS_PORT": "9102"})
    there = [Settings.from_environment(settings_of(service)) for service in ours.values()]
    differing = {
        field for other in there for field in Settings.model_fields if getattr(here, field) != getattr(other, field)
    }
    assert differing - besides <= ENDPOINTS | LOGINS
    assert besides <= differing


@pytest.fixture
def both(tmp_path: Path, services: dict[str, Any]) -> tuple[list[MigrationStatement], list[MigrationStatement]]:
    """The DDL of the embedded stack and of compose."""
    here, there = (
        Settings.from_environment(environment)
        for environment in (embedded_environment(tmp_path, "memory"), settings_of(services["ddl"]))
    )
    return ([*render_journal(here), *render(here)], [*render_journal(there), *render(there)])


def test_the_ddl_differs_in_the_brokers_address_only(
    both: tuple[list[MigrationStatement], list[MigrationStatement]],
) -> None:
    here, there = both
    assert [statement.key for statement in here] == [statement.key for statement in there]
    different = [(one.sql, other.sql) for one, other in zip(here, there, strict=True) if one.sql != other.sql]
    kafka = [statement for statement in here if statement.kind is ObjectKind.KAFKA_TABLE]
    assert len(different) == len(kafka) > 3
    for one, other in different:
        pairs = zip(one.splitlines(), other.splitlines(), strict=True)
        assert [pair for pair in pairs if pair[0] != pair[1]] == [
            ("    kafka_broker_list = 'embedded',", "    kafka_broker_list = 'redpanda:9092',")
        ]


def test_a_stand_in_differs_from_its_kafka_table_in_the_engine_clause_only(
    both: tuple[list[MigrationStatement], list[MigrationStatement]],
) -> None:
    """Same name, same columns; a sink is given its UUID, and what the engine would add by itself is spelled out."""
    for statement in (one for one in both[0] if one.kind is ObjectKind.KAFKA_TABLE):
        table = parse_kafka_table(statement.sql)
        assert table is not None
        stand_in, _, engine = re.sub(r" UUID '[-0-9a-f]{36}'", "", table.stand_in(), count=1).partition(" ENGINE = ")
        added = stand_in.removeprefix(f"{table.prefix} {table.columns}".rstrip(")"))
        assert stand_in != added, f"{statement.object}: the columns differ"
        assert set(re.findall(r"`?([\w.]+)`? [\w()]+ MATERIALIZED", added)) <= set(VIRTUAL_COLUMNS)
        assert engine.startswith(("Null ", "URL(kafka_sinks, "))


def test_topics_are_the_same(create_topics: Any) -> None:
    """Names, partitions, retention and largest message; compose's script against the embedded stack's code."""
    asked = create_topics().topics("create")
    scripted = {
        name: (
            int(options[options.index("--partitions") + 1]),
            dict(option.removeprefix("--topic-config=").split("=") for option in options if "=" in option),
        )
        for name, options in asked.items()
    }
    made = {topic.topic: (topic.num_partitions, dict(topic.config)) for topic in topics.wanted(Settings())}
    assert set(made) == set(scripted)
    for name, (partitions, config) in made.items():
        assert partitions == scripted[name][0], name
        # Redpanda's own; Kafka acknowledges what is replicated, and one node has nobody to replicate to.
        assert config == {key: value for key, value in scripted[name][1].items() if key != "write.caching"}, name
