"""The processes of the embedded stack: how each is started and when it is ready."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from config.settings import Settings
from ddl.analyst import analyst_tables, listed_tables
from deploy.embedded.layout import PARTITIONS, BrokerKind, DataDir
from deploy.embedded.ports import LOOPBACK
from silver_processor.group.shards import shards_for

_REASON_BYTES = 500
_ANSWER_S = 2.0
SERVING = "serving"
PASSWORD_VARIABLE = "MEDALLION_CLICKHOUSE_PASSWORD"  # noqa: S105 - its name
_PASSWORD_FILE_VARIABLE = f"{PASSWORD_VARIABLE}_FILE"
_ANALYST_PASSWORD_VARIABLE = "MEDALLION_ANALYST_PASSWORD"  # noqa: S105 - its name


@dataclass(frozen=True)
class Ports:
    """TCP ports of the stack on the loopback address.

    `metrics`: one for each Silver worker. `offload`, `serving`, `schedules`: 0 for none.
    """

    clickhouse_native: int
    clickhouse_http: int
    metrics: tuple[int, ...]
    offload: int = 0
    serving: int = 0
    schedules: int = 0


@dataclass(frozen=True)
class Service:
    """One process of the stack.

    Attributes:
        environment: what is added to the supervisor's own environment.
        unready: gives the reason why the process is not ready; "" if it is.
        must_answer: a process that is not ready for long is ended and started again.
        metrics_url: "" if it has no metrics.
        ready_url: where `unready` asks; "" if it asks no address.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    unready: Callable[[], Awaitable[str]]
    must_answer: bool = False
    metrics_url: str = ""
    ready_url: str = ""


def stack_environment(
    data_dir: DataDir, ports: Ports, broker: BrokerKind, servers: str, given: Mapping[str, str]
) -> dict[str, str]:
    """The `MEDALLION_…` settings with which every service and command reaches this stack.

    `given`: the caller's own `MEDALLION_…` variables. The endpoints are always the stack's.
    """
    is_given = any(given.get(name) for name in (PASSWORD_VARIABLE, _PASSWORD_FILE_VARIABLE))
    password = {} if is_given else {_PASSWORD_FILE_VARIABLE: str(data_dir.password_file)}
    page = {"MEDALLION_SERVING_HOST": LOOPBACK, "MEDALLION_SERVING_PORT": str(ports.serving)} if ports.serving else {}
    return {
        # Fewer shards leave a worker without work; more shards cost more inserts in each cycle.
        "MEDALLION_BRONZE_SHARDS": str(shards_for(len(ports.metrics), PARTITIONS)),
        # The node refreshes after each change, so a schedule is needed only for what time alone changes.
        "MEDALLION_LATEST_PRICES_EVERY_S": "30",
        **given,
        **password,
        **page,
        "MEDALLION_CLICKHOUSE_USER": "default",
        "MEDALLION_KAFKA_BOOTSTRAP_SERVERS": servers,
        "MEDALLION_KAFKA_SECURITY_PROTOCOL": "PLAINTEXT",
        "MEDALLION_CLICKHOUSE_HOST": LOOPBACK,
        "MEDALLION_CLICKHOUSE_PORT": str(ports.clickhouse_native),
        "MEDALLION_CLICKHOUSE_HTTP_PORT": str(ports.clickhouse_http),
        "MEDALLION_CLICKHOUSE_TLS": "false",
        # The broker's address changes with every start. The node gets it as an option, so the DDL stays the same.
        "MEDALLION_CLICKHOUSE_KAFKA_BROKERS": "embedded",
        "MEDALLION_ICEBERG_CATALOG_URI": data_dir.catalog_uri,
        "MEDALLION_ICEBERG_WAREHOUSE": data_dir.warehouse_uri,
        # The in-memory broker keeps about 5 MB of each partition and silently drops the oldest messages.
        "MEDALLION_PUBLISH_MAX_UNCONSUMED_BYTES": "2500000" if broker == "memory" else "0",
    }


def analyst_environment(data_dir: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of a service that reads this stack as the analyst does."""
    own = {name: value for name, value in environment.items() if name != PASSWORD_VARIABLE}
    password = str(DataDir(data_dir).analyst_password_file)
    return {**own, "MEDALLION_CLICKHOUSE_USER": "analyst", _PASSWORD_FILE_VARIABLE: password}


def clickhouse_service(data_dir: DataDir, ports: Ports, environment: Mapping[str, str]) -> Service:
    """The ClickHouse node: the engine's store behind native TCP and HTTP, and the stand-in for its Kafka engine."""
    settings = Settings.from_environment(environment)
    password = settings.clickhouse_password.get_secret_value()
    own = {name: value for name, value in environment.items() if name != f"{PASSWORD_VARIABLE}_FILE"}
    analyst = data_dir.analyst_password_file.read_text(encoding="ascii").strip()
    own |= {PASSWORD_VARIABLE: password, _ANALYST_PASSWORD_VARIABLE: analyst}
    argv = (
        sys.executable,
        "-m",
        "deploy.embedded.clickhouse",
        "--path",
        str(data_dir.clickhouse),
        "--host",
        LOOPBACK,
        "--native-port",
        str(ports.clickhouse_native),
        "--http-port",
        str(ports.clickhouse_http),
        "--kafka-brokers",
        settings.kafka_bootstrap_servers,
        "--kafka-flow-control-group",
        settings.silver_consumer_group,
        "--kafka-max-unconsumed-bytes",
        str(settings.publish_max_unconsumed_bytes),
        "--deduplication-window",
        str(settings.deduplication_window),
        "--password-env",
        PASSWORD_VARIABLE,
        "--analyst-password-env",
        _ANALYST_PASSWORD_VARIABLE,
        *(f"--analyst-table={name}" for name in _analyst_tables(settings)),
        *(f"--listed-table={settings.clickhouse_database}.{name}" for name in listed_tables()),
        f"--landing-database={settings.clickhouse_database}",
        *(f"--readable={folder}" for folder in data_dir.warehouses),
    )
    ping = f"http://{LOOPBACK}:{ports.clickhouse_http}/ping"
    return Service("clickhouse", argv, own, _until_ok(ping), must_answer=True, ready_url=ping)


def _analyst_tables(settings: Settings) -> tuple[str, ...]:
    """The tables that the analyst may read, each `database.table`. Pins contain Raw, so they are as open as Raw is."""
    names = analyst_tables(raw=settings.serving_raw)
    return (
        *(f"{settings.clickhouse_database}.{name}" for name in names),
        *(("pin_*.*",) if settings.serving_raw else ()),
    )


def silver_service(index: int, ports: Ports, environment: Mapping[str, str]) -> Service:
    """One Silver worker, ready while every partition of Bronze has an owner as far as it knows."""
    port = ports.metrics[index]
    ready_url = f"http://{LOOPBACK}:{port}/readyz"
    return Service(
        f"silver-{index}",
        (sys.executable, "-m", "silver_processor"),
        {**environment, "MEDALLION_METRICS_PORT": str(port)},
        _until_ok(ready_url),
        metrics_url=f"http://{LOOPBACK}:{port}/metrics",
        ready_url=ready_url,
    )


def offload_service(port: int, environment: Mapping[str, str]) -> Service:
    """The hourly offload, ready once it serves its metrics: its first run may take long."""
    metrics_url = f"http://{LOOPBACK}:{port}/metrics"
    return Service(
        "offload",
        (sys.executable, "-m", "cli", "offload", "serve"),
        {**environment, "MEDALLION_METRICS_PORT": str(port)},
        _until_ok(metrics_url),
        metrics_url=metrics_url,
        ready_url=metrics_url,
    )


def schedules_service(data_dir: DataDir, port: int, environment: Mapping[str, str]) -> Service:
    """Series and quality checks, ready once it serves its metrics, whether or not the providers answer."""
    metrics_url = f"http://{LOOPBACK}:{port}/metrics"
    # The schedules keep their state in the data folder.
    own = {"MEDALLION_DATA_DIR": str(data_dir.path), "MEDALLION_METRICS_PORT": str(port)}
    return Service(
        "schedules",
        (sys.executable, "-m", "cli", "schedule", "serve"),
        {**environment, **own},
        _until_ok(metrics_url),
        metrics_url=metrics_url,
        ready_url=metrics_url,
    )


def serving_service(data_dir: DataDir, port: int, environment: Mapping[str, str]) -> Service:
    """The page and Binance's interfaces, ready while ClickHouse answers it."""
    ready_url = f"http://{LOOPBACK}:{port}/readyz"
    return Service(
        SERVING,
        (sys.executable, "-m", "cli", "serve"),
        analyst_environment(data_dir.path, environment),
        _until_ok(ready_url),
        metrics_url=f"http://{LOOPBACK}:{port}/metrics",
        ready_url=ready_url,
    )


def broker_service(state_file: Path, environment: Mapping[str, str]) -> Service:
    """The in-memory broker, ready once it has written its address to `state_file`."""

    async def unready() -> str:
        return "" if state_file.exists() else "it has not written its address yet"

    return Service(
        "broker",
        (sys.executable, "-m", "deploy.embedded.broker", "--state", str(state_file)),
        dict(environment),
        unready,
    )


def _until_ok(url: str) -> Callable[[], Awaitable[str]]:
    """The `unready` of a service that is ready when `url` answers 200."""
    return lambda: _refusal(url)


async def _refusal(url: str) -> str:
    """Why `url` does not answer 200: the text of its answer; "" if it does."""
    return await asyncio.to_thread(_asked, url)


def _asked(url: str) -> str:
    address = urlsplit(url)
    # Not aiohttp: a fifth of a second of CPU and 20 MB, and the supervisor needs it for nothing else.
    connection = HTTPConnection(address.netloc, timeout=_ANSWER_S)
    try:
        connection.request("GET", address.path)
        with connection.getresponse() as response:
            if response.status == HTTPStatus.OK:
                return ""
            text = response.read(_REASON_BYTES).decode(errors="replace").strip()
            return text or f"{url} answers {response.status}"
    except (HTTPException, OSError):
        return f"{url} does not answer"
    finally:
        connection.close()
