"""What each client library is told of the settings, and that no other module tells it anything."""

from __future__ import annotations

import ast
import logging
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer
from pydantic import ValidationError

from config.connections import (
    clickhouse_http,
    clickhouse_native,
    clickhouse_requests,
    iceberg_catalog,
    kafka_client,
    kafka_security,
)
from config.settings import Settings
from silver_processor.group.app import credentials

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("producers", "silver_processor", "ddl", "offload", "schemas", "config", "deploy", "cli")
SASL = {"kafka_sasl_username": "silver", "kafka_sasl_password": "hush"}
# Who may name a broker without the settings: the stand-in has its table's own settings (and the node's security), the
# supervisor asks the broker it has just started, which is on the loopback address and plain.
NAMES_A_BROKER = {
    "config/connections.py",
    "deploy/embedded/clickhouse/kafka/clients.py",
    "deploy/embedded/clickhouse/kafka/tables.py",
    "deploy/embedded/supervisor.py",
}


def settings(**given: Any) -> Settings:
    return Settings(**given)


def test_nothing_is_added_where_nothing_is_asked_for() -> None:
    plain = settings()
    assert set(kafka_client(plain)) - {"logger"} == {"bootstrap.servers"}
    assert set(clickhouse_native(plain)) == {"host", "port", "user", "password"}
    assert "secure" not in clickhouse_http(plain)
    assert clickhouse_requests(plain)["url"] == "http://localhost:8123/"
    assert set(iceberg_catalog(plain)) == {"uri", "warehouse"}
    assert credentials(plain) is None


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
@pytest.mark.parametrize("protocol", ["SASL_PLAINTEXT", "SASL_SSL"])
def test_both_kafka_libraries_take_what_they_are_given(protocol: str, mechanism: str) -> None:
    """librdkafka checks names and values when a client is made; Faust's become aiokafka's arguments."""
    given = settings(kafka_security_protocol=protocol, kafka_sasl_mechanism=mechanism, **SASL)
    Producer({**kafka_client(given), "log_level": 0})
    told = credentials(given)
    assert (told.username, told.password, told.mechanism.value) == ("silver", "hush", mechanism)
    assert told.protocol.value == protocol
    assert "hush" not in repr(told)


def test_tls_without_a_login(ca: Path) -> None:
    given = settings(kafka_security_protocol="SSL", kafka_ca_file=ca)
    assert kafka_security(given) == {"security.protocol": "SSL", "ssl.ca.location": str(ca)}
    Producer({**kafka_client(given), "log_level": 0})
    context = credentials(given).context
    assert context.check_hostname
    assert [entry["subject"] for entry in context.get_ca_certs()] == [((("commonName", "an authority"),),)]


@pytest.mark.parametrize("missing", sorted(SASL))
def test_a_login_without_name_or_password_is_refused_at_start(missing: str) -> None:
    incomplete = {name: value for name, value in SASL.items() if name != missing}
    with pytest.raises(ValidationError, match="MEDALLION_KAFKA_SASL_USERNAME and MEDALLION_KAFKA_SASL_PASSWORD"):
        settings(kafka_security_protocol="SASL_SSL", **incomplete)
    with pytest.raises(ValidationError, match="MEDALLION_S3_SECRET_ACCESS_KEY"):
        settings(s3_access_key_id="key")


def test_clickhouse_clients_verify_against_the_authority(ca: Path) -> None:
    given = settings(clickhouse_tls=True, clickhouse_ca_file=ca, clickhouse_http_port=8443)
    assert {"secure": True, "verify": True, "ca_certs": str(ca)}.items() <= clickhouse_native(given).items()
    assert {"secure": True, "verify": True, "ca_cert": str(ca)}.items() <= clickhouse_http(given).items()
    told = clickhouse_requests(given)
    assert (told["url"], told["verify"]) == ("https://localhost:8443/", str(ca))
    assert clickhouse_requests(settings(clickhouse_tls=True))["verify"] is True


def test_the_catalog_gets_its_own_credentials_and_the_buckets(ca: Path) -> None:
    told = iceberg_catalog(
        settings(
            iceberg_catalog_credential="id:secret",
            iceberg_oauth2_uri="https://login/token",
            iceberg_ca_file=ca,
            s3_endpoint="https://store:9000",
            s3_access_key_id="key",
            s3_secret_access_key="hush",
        )
    )
    assert (told["credential"], told["oauth2-server-uri"]) == ("id:secret", "https://login/token")
    assert told["ssl"] == {"cabundle": str(ca)}
    assert (told["s3.endpoint"], told["s3.access-key-id"]) == ("https://store:9000", "key")
    assert told["s3.secret-access-key"] == "hush"
    assert "token" not in told


def test_no_secret_shows_in_settings(caplog: pytest.LogCaptureFixture) -> None:
    secrets = {name: f"hush-{name}" for name, field in Settings.model_fields.items() if "SecretStr" in str(field)}
    assert len(secrets) >= 5
    given = settings(**secrets, s3_access_key_id="key")
    logging.getLogger("test").warning("%s %r", given, given)
    shown = caplog.text + given.model_dump_json() + str(given.model_dump())
    assert "hush" not in shown
    with pytest.raises(ValidationError) as error:
        settings(clickhouse_password="hush", clickhouse_port="none")
    assert "hush" not in str(error.value)


def test_no_other_module_spells_a_connection_out() -> None:
    """A client made past `config.connections` would ignore authentication and TLS."""
    naming, unwrapping = set(), set()
    for path in (file for package in PACKAGES for file in (ROOT / package).rglob("*.py")):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and node.value == "bootstrap.servers":
                naming.add(name)
            if isinstance(node, ast.Attribute) and node.attr in {"clickhouse_password", "s3_secret_access_key"}:
                unwrapping.add(name)
    assert naming == NAMES_A_BROKER
    # The settings check that a key has its secret; the node is told the password that its clients will use.
    assert unwrapping == {"config/connections.py", "config/settings.py", "deploy/embedded/services.py"}
