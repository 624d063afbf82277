"""The settings in the form of each client library: address, credentials, TLS. No other module builds these.

Keys are the libraries' own: librdkafka (docs.confluent.io, CONFIGURATION.md), clickhouse-driver, clickhouse-connect,
pyiceberg's catalog properties. Values hold secrets in plain text: pass them on, never log them.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any

from config.settings import Settings


def kafka_security(settings: Settings) -> dict[str, object]:
    """librdkafka's properties for authentication and TLS; empty if the broker needs neither."""
    protocol = settings.kafka_security_protocol
    if protocol == "PLAINTEXT":
        return {}
    properties: dict[str, object] = {"security.protocol": protocol}
    if settings.kafka_has_sasl:
        properties |= {
            "sasl.mechanism": settings.kafka_sasl_mechanism,
            "sasl.username": settings.kafka_sasl_username,
            "sasl.password": settings.kafka_sasl_password.get_secret_value(),
        }
    if settings.kafka_has_tls and settings.kafka_ca_file is not None:
        properties["ssl.ca.location"] = str(settings.kafka_ca_file)
    return properties


def kafka_client(settings: Settings) -> dict[str, object]:
    """librdkafka's properties that all producers, consumers and admin clients have in common."""
    return {
        "bootstrap.servers": settings.kafka_bootstrap_servers,
        # Without a logger librdkafka writes to standard error, in a format of its own.
        "logger": logging.getLogger("librdkafka"),
        **kafka_security(settings),
    }


def clickhouse_native(settings: Settings) -> dict[str, Any]:
    """Arguments of `clickhouse_driver.Client`, without the database."""
    tls: dict[str, Any] = {"secure": True, "verify": True} if settings.clickhouse_tls else {}
    if settings.clickhouse_tls and settings.clickhouse_ca_file is not None:
        tls["ca_certs"] = str(settings.clickhouse_ca_file)
    return {
        "host": settings.clickhouse_host,
        "port": settings.clickhouse_port,
        "user": settings.clickhouse_user,
        "password": settings.clickhouse_password.get_secret_value(),
        **tls,
    }


def clickhouse_http(settings: Settings) -> dict[str, Any]:
    """Arguments of `clickhouse_connect.get_client`."""
    tls: dict[str, Any] = {"secure": True, "verify": True} if settings.clickhouse_tls else {}
    if settings.clickhouse_tls and settings.clickhouse_ca_file is not None:
        tls["ca_cert"] = str(settings.clickhouse_ca_file)
    return {
        "host": settings.clickhouse_host,
        "port": settings.clickhouse_http_port,
        "username": settings.clickhouse_user,
        "password": settings.clickhouse_password.get_secret_value(),
        "database": settings.clickhouse_database,
        # Queries of one session do not run in parallel.
        "autogenerate_session_id": False,
        **tls,
    }


def clickhouse_requests(settings: Settings) -> dict[str, Any]:
    """Arguments of `requests.post`: address, credentials and trusted authorities."""
    scheme = "https" if settings.clickhouse_tls else "http"
    return {
        "url": f"{scheme}://{settings.clickhouse_host}:{settings.clickhouse_http_port}/",
        "auth": (settings.clickhouse_user, settings.clickhouse_password.get_secret_value()),
        "verify": str(settings.clickhouse_ca_file or "") or True,
    }


def iceberg_catalog(settings: Settings) -> dict[str, Any]:
    """pyiceberg's catalog properties: address, warehouse, and credentials of the REST catalog and the bucket.

    Settings without a value are left out, so pyiceberg's own configuration (`PYICEBERG_CATALOG__MEDALLION__…`) applies.
    """
    given = {
        "uri": settings.iceberg_catalog_uri,
        "warehouse": settings.iceberg_warehouse,
        "token": settings.iceberg_catalog_token.get_secret_value(),
        "credential": settings.iceberg_catalog_credential.get_secret_value(),
        "oauth2-server-uri": settings.iceberg_oauth2_uri,
        "scope": settings.iceberg_catalog_scope,
        "s3.endpoint": settings.s3_endpoint,
        "s3.region": settings.s3_region,
        "s3.access-key-id": settings.s3_access_key_id,
        "s3.secret-access-key": settings.s3_secret_access_key.get_secret_value(),
    }
    properties: dict[str, Any] = {name: value for name, value in given.items() if value}
    if settings.iceberg_ca_file is not None:
        properties["ssl"] = {"cabundle": str(settings.iceberg_ca_file)}
    return properties


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """A client's TLS context. It verifies certificate and host name, against `ca_file` or the system's authorities.

    Raises:
        OSError: the file cannot be read or has no certificate.
    """
    return ssl.create_default_context(cafile=ca_file)
