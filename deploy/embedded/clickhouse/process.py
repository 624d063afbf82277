"""The node as a process: its command line, its signals and its exit codes."""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import threading
from pathlib import Path

import structlog

from config.process import logs
from config.process.garbage import collect_rarely
from config.process.optional_imports import do_without
from deploy.embedded.clickhouse.access import Access
from deploy.embedded.clickhouse.engine.config import Limits
from deploy.embedded.clickhouse.errors import NodeStartError
from deploy.embedded.clickhouse.node import Node, Options

_EXIT_START_FAILED = 1
_EXIT_STOP_FAILED = 2
_STOP_S = 15.0  # time after the grace, to kill queries and to deliver Kafka messages
_log = structlog.get_logger(__name__)
# chDB imports these if they are installed, but only Kafka tables need them.
_NEEDED_BY_KAFKA_TABLES = ("pyarrow", "numpy")


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded.clickhouse", description="The embedded node.")
    parser.add_argument("--path", type=Path, required=True, help="data folder; created if it is missing")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--native-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument(
        "--password-env",
        required=True,
        help="environment variable with the password of user 'default', who reads and writes",
    )
    parser.add_argument(
        "--analyst-password-env",
        default="",
        help="the same for user 'analyst', who only reads; without it there is no such user",
    )
    parser.add_argument(
        "--analyst-table",
        action="append",
        default=[],
        metavar="DATABASE.TABLE",
        help="a table that the analyst may read; repeatable",
    )
    parser.add_argument(
        "--listed-table",
        action="append",
        default=[],
        metavar="DATABASE.TABLE",
        help="an analyst table that SHOW TABLES lists; repeatable; if none is given of a database, all are listed",
    )
    parser.add_argument(
        "--landing-database", default="", help="the current database of a client that names none; default: `default`"
    )
    parser.add_argument(
        "--readable",
        action="append",
        default=[],
        metavar="PLACE",
        help="folder, or URL of a bucket, that SQL may read; repeatable",
    )
    parser.add_argument(
        "--max-memory-mb", type=int, default=Limits.max_memory_mb, help="memory limit of all queries together, MiB"
    )
    parser.add_argument(
        "--deduplication-window",
        type=int,
        default=Limits.deduplication_window,
        help="inserts that each table remembers, to recognise a repeated one",
    )
    parser.add_argument(
        "--grace-s", type=float, default=10.0, help="seconds that running queries get to end after SIGTERM"
    )
    parser.add_argument("--kafka-brokers", default="", help="host:port,… for tables with ENGINE = Kafka")
    # The second name is that of 0.2.
    parser.add_argument(
        "--kafka-flow-control-group", "--kafka-pace-group", default="", help="consumer group that sinks wait for"
    )
    parser.add_argument(
        "--kafka-max-unconsumed-bytes",
        type=int,
        default=0,
        help="bytes that a sink's partition may be ahead of that group; 0: no limit",
    )
    given = parser.parse_args()
    analyst_password = _secret(given.analyst_password_env) if given.analyst_password_env else ""
    return Options(
        path=given.path.absolute(),
        host=given.host,
        native_port=given.native_port,
        http_port=given.http_port,
        access=Access(_secret(given.password_env), analyst_password),
        readable=given.readable,
        analyst_tables=given.analyst_table if analyst_password else (),
        listed_tables=given.listed_table if analyst_password else (),
        landing_database=given.landing_database,
        limits=Limits(given.max_memory_mb, given.deduplication_window),
        grace_s=given.grace_s,
        kafka_brokers=given.kafka_brokers,
        kafka_security=_kafka_security() if given.kafka_brokers else {},
        kafka_flow_control_group=given.kafka_flow_control_group,
        kafka_max_unconsumed_bytes=given.kafka_max_unconsumed_bytes,
    )


def _secret(variable: str) -> str:
    """Take a password from an environment variable. The variable is removed, so that no child process inherits it.

    Raises:
        NodeStartError: the variable is not set or is empty.
    """
    value = os.environ.pop(variable, "")
    if not value:
        raise NodeStartError(f"the environment variable {variable} is not set or is empty: put the password in it.")
    return value


def _kafka_security() -> dict[str, object]:
    """librdkafka's properties from the `MEDALLION_KAFKA_…` variables. A server has them in its `<kafka>` section."""
    from config.connections import kafka_security  # noqa: PLC0415 - a node without Kafka tables stays smaller
    from config.settings import Settings  # noqa: PLC0415

    return kafka_security(Settings.from_environment(os.environ))


async def _serve(options: Options) -> None:
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    node = Node(options)
    await node.start()
    collect_rarely()
    _log.info("ready", native_port=node.native_port, http_port=options.http_port)
    await stopping.wait()
    _end_in(options.grace_s + _STOP_S)
    await node.stop()


def _raise_file_limit() -> None:
    """Raise the limit of open files. Each connection needs one, and so does each file of a part that is read."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft = 65_536 if most == resource.RLIM_INFINITY else min(most, 65_536)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most))


def _end_in(seconds: float) -> None:
    """End the process after this time, whatever its threads do, unless the orderly stop ended it before."""

    def end() -> None:
        _log.error("orderly stop took too long, ending the process", seconds=seconds)
        os._exit(_EXIT_STOP_FAILED)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def main() -> int:
    """Run a node until SIGTERM. Returns the exit code."""
    logs.configure("INFO", "clickhouse")
    os.umask(0o077)
    _raise_file_limit()
    try:
        options = _options()
        # chDB lets icebergLocal read everything below the working folder, whatever `user_files_path` says.
        os.chdir("/")
        if not options.kafka_brokers:
            do_without(*_NEEDED_BY_KAFKA_TABLES)
        asyncio.run(_serve(options))
    except NodeStartError as error:
        _log.error("not started", error=str(error))
        return _EXIT_START_FAILED
    return 0
