"""Compose and `config.settings.Settings` agree: names, values, entry points, symbols."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import urllib.request
import xml.etree.ElementTree as ET
import zlib
from pathlib import Path
from typing import Any

import pytest
import typer

from config.registry import SymbolRegistry
from config.settings import Settings
from silver_processor.group.shards import shards_for

# What deployment changes, and why; everything else a service is told must be the default it would have anyway.
DIFFERENT = {
    "kafka_bootstrap_servers": "endpoint",
    "clickhouse_host": "endpoint",
    "clickhouse_kafka_brokers": "endpoint",
    "iceberg_catalog_uri": "endpoint",
    "iceberg_warehouse": "the name of the REST catalog's warehouse",
    "clickhouse_user": "least privilege",
    "clickhouse_password": "secret",
    "metrics_host": "Prometheus is another container",
    "metrics_port": "fixed, so that Prometheus finds it",
    "kafka_security_protocol": "everybody logs in",
    "kafka_sasl_username": "least privilege",
    "kafka_sasl_password": "secret",
    "s3_endpoint": "endpoint",
    "prometheus_url": "endpoint",
    "alertmanager_url": "endpoint",
    "grafana_url": "endpoint",
    "grafana_password": "secret",
    "symbols_file": "edited without a new image",
    "schedules_file": "edited without a new image",
    "s3_region": "endpoint",
    "s3_access_key_id": "secret",
    "s3_secret_access_key": "secret",
    "serving_host": "published on the host's loopback address",
    "serving_token": "secret",
}


def settings_of(service: dict[str, Any]) -> dict[str, str]:
    environment = service.get("environment") or {}
    return {key: str(value) for key, value in environment.items() if key.startswith("MEDALLION_")}


@pytest.fixture(autouse=True)
def no_settings_of_this_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MEDALLION_")]:
        monkeypatch.delenv(name)


def test_every_variable_is_one_that_settings_know(services: dict[str, Any]) -> None:
    known = Settings.variables()
    for name, service in services.items():
        assert set(settings_of(service)) <= known, name


def test_every_setting_can_be_given(ours: dict[str, Any]) -> None:
    """The other way round: what a service is not told can be put into one file, and nothing there is overruled."""
    told = {key for service in ours.values() for key in settings_of(service)}
    left = Settings.variables() - told
    assert len(left) > 10
    for name, service in ours.items():
        assert service["env_file"] == [{"path": "medallion.env", "required": False}], name
    assert not {field for field in Settings.model_fields.values() if field.is_required()}, "each has a default"


def test_values_are_valid_and_differ_from_the_defaults_only_where_they_must(ours: dict[str, Any]) -> None:
    defaults = Settings()
    changed = set()
    for name, service in ours.items():
        settings = Settings.from_environment(settings_of(service))
        for field in Settings.model_fields:
            if getattr(settings, field) != getattr(defaults, field):
                assert field in DIFFERENT, f"{name} sets {field} to {getattr(settings, field)!r}"
                changed.add(field)
    assert changed == set(DIFFERENT), "a reason is listed that no service uses"


def test_every_local_endpoint_is_replaced(ours: dict[str, Any]) -> None:
    """A default that means this machine means nothing in a container: each must be set by some service."""
    local = {
        name
        for name, field in Settings.model_fields.items()
        if re.search(r"localhost|127\.0\.0\.1|^file:|^sqlite:", str(field.default))
    }
    assert local
    told = {key for service in ours.values() for key in settings_of(service)}
    assert {f"MEDALLION_{name.upper()}" for name in local} <= told


def test_services_with_a_database_have_a_user_of_their_own(ours: dict[str, Any], root: Path) -> None:
    users = ET.parse(root / "deploy/compose/clickhouse/users.xml").find("users")
    assert users is not None
    passwords = {user.tag: user.find("password") for user in users}
    for name, service in ours.items():
        user = settings_of(service).get("MEDALLION_CLICKHOUSE_USER")
        if user is None:
            assert "MEDALLION_CLICKHOUSE_PASSWORD" not in settings_of(service), name
            continue
        assert user in {"ddl", "ingest", "serving"}, name
        password = passwords[user]
        assert password is not None
        assert password.attrib["from_env"] == f"CLICKHOUSE_{user.upper()}_PASSWORD"


def test_passwords_reach_the_server_and_the_service_from_the_same_variable(unresolved: dict[str, Any]) -> None:
    services = unresolved["services"]
    at_server = services["clickhouse"]["environment"]
    for service in services.values():
        settings = settings_of(service)
        if user := settings.get("MEDALLION_CLICKHOUSE_USER"):
            assert settings["MEDALLION_CLICKHOUSE_PASSWORD"] == at_server[f"CLICKHOUSE_{user.upper()}_PASSWORD"]


def test_the_server_is_configured_with_what_settings_say(root: Path) -> None:
    server = ET.parse(root / "deploy/compose/clickhouse/server.xml")
    defaults = Settings()
    assert server.findtext("merge_tree/non_replicated_deduplication_window") == str(defaults.deduplication_window)
    for path in ("kafka/consumer/max_partition_fetch_bytes", "kafka/producer/message_max_bytes"):
        assert server.findtext(path) == str(defaults.kafka_max_message_bytes), path


def test_clickhouse_and_the_services_log_in_to_the_broker_alike(root: Path, ours: dict[str, Any]) -> None:
    """The Kafka engine's login is in the server's file: a table's own settings can be read by any user."""
    server = ET.parse(root / "deploy/compose/clickhouse/server.xml")
    silver = Settings.from_environment(settings_of(ours["silver-processor"]))
    assert server.findtext("kafka/security_protocol", "").upper() == silver.kafka_security_protocol
    assert server.findtext("kafka/sasl_mechanism") == silver.kafka_sasl_mechanism
    assert server.findtext("kafka/sasl_username") == "clickhouse"
    password = server.find("kafka/sasl_password")
    assert password is not None
    assert password.attrib == {"from_env": "KAFKA_CLICKHOUSE_PASSWORD"}
    users = {settings_of(service).get("MEDALLION_KAFKA_SASL_USERNAME") for service in ours.values()}
    assert users == {None, "producer", "silver", "operator"}


def test_entry_points_exist(ours: dict[str, Any]) -> None:
    """Each command line is parsed by the program it is for; nothing is run."""
    from cli.main import app

    command_line = typer.main.get_command(app)
    for name, service in ours.items():
        program = [*service.get("entrypoint", ["medallion"]), *service["command"]]
        if program[:2] == ["python", "-m"]:
            module = program[2]
            found = importlib.util.find_spec(f"{module}.__main__") if _is_package(module) else _find(module)
            assert found is not None, f"{name}: {module} cannot be run"
            continue
        if program[:2] == ["/bin/sh", "-c"]:
            program = program[2].rpartition("exec ")[2].split()
        assert program[0] == "medallion", name
        _parse(command_line, program[1:])


def test_the_simulator_starts_as_compose_starts_it(root: Path, services: dict[str, Any]) -> None:
    """Its arguments and its health check, on a free port; its producers connect to paths that it serves."""
    simulator = services["simulator"]
    (mount,) = (volume for volume in simulator["volumes"] if "recordings" in volume)
    source, target, _ = mount.split(":")
    arguments = [
        "--port=0" if argument.startswith("--port=") else argument.replace(target, str(root / source))
        for argument in simulator["command"]
    ]
    process = subprocess.Popen([sys.executable, *simulator["entrypoint"][1:], *arguments], stderr=subprocess.PIPE)
    try:
        assert process.stderr is not None
        status = re.search(r"http://127\.0\.0\.1:\d+/\w+", process.stderr.readline().decode())
        assert status is not None, "it did not start"
        assert status[0].endswith(simulator["healthcheck"]["test"][-1])
        with urllib.request.urlopen(status[0], timeout=10) as answer:
            assert answer.status == 200
    finally:
        process.terminate()
        process.wait(30)
    recorded = {re.split("[=]", argument)[1] for argument in arguments if argument.startswith("--recording=")}
    simulated = [service["command"] for name, service in services.items() if name.startswith("simulated-")]
    assert {command[command.index("--exchange") + 1] for command in simulated} == recorded
    for command in simulated:
        exchange, endpoint = (command[command.index(option) + 1] for option in ("--exchange", "--endpoint"))
        assert endpoint == f"ws://127.0.0.1:8765/{exchange}"


def _is_package(module: str) -> bool:
    found = _find(module)
    return found is not None and found.submodule_search_locations is not None


def _find(module: str) -> Any:
    return importlib.util.find_spec(module)


def _parse(command: Any, arguments: list[str]) -> None:
    """Raises click's usage errors where an option or a command does not exist."""
    with command.make_context("medallion", list(arguments)) as context:
        if hasattr(command, "resolve_command"):
            _, found, rest = command.resolve_command(context, [*context._protected_args, *context.args])
            _parse(found, rest)


def test_produced_symbols_are_registered(ours: dict[str, Any]) -> None:
    lookup = SymbolRegistry.load(Settings().symbols_file).lookup
    registered = {(row["exchange"], row["exchange_symbol"]) for row in lookup}
    checked = 0
    for name, service in ours.items():
        options = dict(zip(service["command"][1::2], service["command"][2::2], strict=False))
        if "--exchange" in options:
            assert options["--exchange"] in Settings().exchanges, name
            for symbol in options["--symbols"].split(","):
                assert (options["--exchange"], symbol) in registered, f"{name}: {symbol}"
                checked += 1
    assert checked > 10


def test_there_are_as_many_shards_as_the_silver_workers_need(services: dict[str, Any]) -> None:
    """One insert a cycle for the one worker that compose starts; the README's table says how many others need.

    librdkafka's `consistent_random` partitioner, which the Kafka engine uses, is the CRC-32 of the key.
    """
    partitions = int(services["topics"]["environment"]["BRONZE_PARTITIONS"])
    shards = int(services["ddl"]["environment"]["MEDALLION_BRONZE_SHARDS"])
    assert shards == shards_for(services["silver-processor"].get("deploy", {}).get("replicas", 1), partitions)
    with_data = [len({zlib.crc32(str(one).encode()) % partitions for one in range(count)}) for count in (1, 2, 5, 6)]
    assert with_data == [1, 2, 3, 4]
    assert [shards_for(workers, partitions) for workers in (1, 2, 3, 4)] == [1, 2, 5, 6]
