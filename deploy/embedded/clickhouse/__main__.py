"""`python -m deploy.embedded.clickhouse`: the node as a process."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

import structlog

from config import logs
from deploy.embedded.clickhouse.access import Access
from deploy.embedded.clickhouse.config import Limits
from deploy.embedded.clickhouse.errors import NodeStartError
from deploy.embedded.clickhouse.node import Node, Options

_EXIT_START_FAILED = 1
_log = structlog.get_logger(__name__)
# chDB imports these if it can; without them the node needs some 50 MB less. Kafka tables work with Arrow.
_NOT_NEEDED = ("pyarrow", "pandas", "numpy")


def _options() -> Options:
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded.clickhouse", description=__doc__)
    parser.add_argument("--path", type=Path, required=True, help="data folder, created if need be")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--native-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--password-env", default="", help="environment variable with the password of user 'default'")
    parser.add_argument("--max-memory-mb", type=int, default=Limits.max_memory_mb, help="cap over all queries, MiB")
    parser.add_argument("--deduplication-window", type=int, default=Limits.deduplication_window)
    parser.add_argument("--grace-s", type=float, default=10.0, help="how long SIGTERM lets queries end, seconds")
    parser.add_argument("--kafka-brokers", default="", help="host:port,… for tables with ENGINE = Kafka")
    parser.add_argument("--kafka-pace-group", default="", help="consumer group that the sinks must not outrun")
    parser.add_argument("--kafka-max-unconsumed-bytes", type=int, default=0, help="by how much at most; 0: no bound")
    given = parser.parse_args()
    if given.password_env and given.password_env not in os.environ:
        raise NodeStartError(f"the environment variable {given.password_env} is not set: put the password in it.")
    return Options(
        path=given.path.absolute(),
        host=given.host,
        native_port=given.native_port,
        http_port=given.http_port,
        access=Access(os.environ.get(given.password_env, "") if given.password_env else ""),
        limits=Limits(given.max_memory_mb, given.deduplication_window),
        grace_s=given.grace_s,
        kafka_brokers=given.kafka_brokers,
        kafka_security=_kafka_security() if given.kafka_brokers else {},
        kafka_pace_group=given.kafka_pace_group,
        kafka_max_unconsumed_bytes=given.kafka_max_unconsumed_bytes,
    )


def _kafka_security() -> dict[str, object]:
    """As the `MEDALLION_KAFKA_…` variables say; a deployed server has the like in its `<kafka>` section."""
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
    _log.info("ready", native_port=node.native_port, http_port=options.http_port)
    await stopping.wait()
    await node.stop()


def main() -> int:
    """Run a node until SIGTERM; the exit code."""
    logs.configure("INFO", "clickhouse")
    try:
        options = _options()
        # chDB lets icebergLocal read what is below the working folder, whatever `user_files_path` says.
        os.chdir("/")
        if not options.kafka_brokers:
            sys.modules.update(dict.fromkeys(_NOT_NEEDED))  # type: ignore[arg-type]
        asyncio.run(_serve(options))
    except NodeStartError as error:
        _log.error("not started", error=str(error))
        return _EXIT_START_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
