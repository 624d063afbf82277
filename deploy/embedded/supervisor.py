"""The supervisor process: starts the stack in order, restarts what dies, stops it in reverse."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import orjson
import structlog
from clickhouse_driver import Client
from confluent_kafka.admin import AdminClient

from config.connections import clickhouse_native, kafka_client
from config.process import logs
from config.process.retry import pause_s
from config.settings import Settings
from ddl.runner import apply as apply_migrations
from deploy.embedded.kafka import server, topics
from deploy.embedded.kafka.jars import Kafka
from deploy.embedded.layout import DataDir, ServiceState, StackError, StackState
from deploy.embedded.services import (
    Ports,
    Service,
    broker_service,
    clickhouse_service,
    offload_service,
    schedules_service,
    serving_service,
    silver_service,
    stack_environment,
)

PR_SET_PDEATHSIG = 1
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
STABLE_AFTER_S = 10.0
POLL_S = 0.05
READINESS_INTERVAL_S = 3.0
# A rebalance of the Silver workers takes some seconds.
UNREADY_AFTER_S = 12.0
# A process on a busy machine may not answer for some seconds.
SILENT_AFTER_S = 30.0
SILENT_END_S = 5.0

log = structlog.get_logger(__name__)
_libc = ctypes.CDLL(None, use_errno=True)
_FIRST_BACK_OFF_S, _LONGEST_BACK_OFF_S = 0.2, 5.0


def _die_with_parent() -> None:
    """Runs in the child: the kernel ends it with SIGKILL when its supervisor dies.

    All processes of the stack end together then. An orderly stop would wait in vain for processes that are gone, and no
    service loses data by SIGKILL.
    """
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


@dataclass
class _Child:
    service: Service
    process: asyncio.subprocess.Process | None = None
    state: Literal["starting", "healthy", "unready", "restarting", "stopped", "failed"] = "starting"
    restarts: int = 0
    failures_in_a_row: int = 0
    healthy_at: float = 0.0
    ready_at: float = 0.0
    detail: str = ""


class Supervisor:
    """Runs one embedded stack on one data folder: broker, ClickHouse node, Silver workers and the optional services."""

    def __init__(self, data_dir: DataDir, ports: Ports, given: Mapping[str, str], kafka: Kafka | None = None) -> None:
        """`kafka`: the Apache Kafka to run as the broker; None: the in-memory one."""
        self._dir = data_dir
        self._kafka = kafka
        self._ports = ports
        self._given = dict(given)
        # The settings of the stack's processes. `_start_all` sets them, as only the broker knows its address.
        self._environment: dict[str, str] = {}
        self._children: dict[str, _Child] = {}
        self._stop = asyncio.Event()
        self._started_at = datetime.now(UTC)

    async def run(self) -> int:
        """Run until SIGTERM or SIGINT; 0 after a clean stop, 1 when the stack could not start."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            await self._unless_stopped(self._start_all())
            while not self._stop.is_set():
                await self._unless_stopped(self._keep_all_running())
        except StackError as error:
            await self._stop_all()
            self._publish("failed", str(error))
            log.error("stack failed", error=str(error))
            return 1
        self._publish("stopping")
        await self._stop_all()
        self._publish("stopped")
        return 0

    async def _unless_stopped(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.ensure_future(work)
        stop = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            return
        task.result()

    async def _start_all(self) -> None:
        """Start the services in order. The broker is first: its address is a part of what all others are given."""
        self._publish("starting")
        self._environment = await (self._start_kafka(self._kafka) if self._kafka else self._start_memory_broker())
        settings = Settings.from_environment(self._environment)
        await asyncio.to_thread(topics.create if self._kafka else _create_topics, settings)
        await self._start(clickhouse_service(self._dir, self._ports, self._environment))
        await asyncio.to_thread(_prepare_database, settings)
        # These services do not need each other, and each takes seconds to load its modules: all start at once.
        clients = _database_clients(self._dir, self._ports, self._environment)
        for child in [await self._spawn(service) for service in clients]:
            await self._until_ready(child)
        self._publish("healthy")
        log.info("stack healthy", environment=sorted(self._environment))

    async def _start_memory_broker(self) -> dict[str, str]:
        """The environment of the stack on this broker. The kernel chooses its port."""
        self._dir.broker_state.unlink(missing_ok=True)
        await self._start(broker_service(self._dir.broker_state, self._given))
        brokers = self._dir.broker_state.read_text(encoding="utf-8").strip()
        return stack_environment(self._dir, self._ports, "memory", brokers, self._given)

    async def _start_kafka(self, kafka: Kafka) -> dict[str, str]:
        """The environment of the stack on this broker."""
        servers = server.bootstrap_servers(self._dir.kafka)

        async def unready() -> str:
            answers = await asyncio.to_thread(topics.answers, {"bootstrap.servers": servers})
            return "" if answers else f"the broker at {servers} does not answer"

        await self._start(Service("broker", server.argv(self._dir.kafka, kafka), dict(self._given), unready))
        return stack_environment(self._dir, self._ports, "kafka", servers, self._given)

    async def _start(self, service: Service) -> None:
        await self._until_ready(await self._spawn(service))

    async def _until_ready(self, child: _Child) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while reason := await child.service.unready():
            self._check_starting(child, deadline, reason)
            await asyncio.sleep(POLL_S)
        self._mark_healthy(child)

    def _check_starting(self, child: _Child, deadline: float, reason: str) -> None:
        """Raise StackError if the process has ended, or its time to start is over."""
        process = child.process
        name = child.service.name
        where = f"Its log: {self._dir.logs / (name + '.log')}"
        if process is not None and process.returncode is not None:
            child.state = "failed"
            raise StackError(
                f"{name} ended with exit code {process.returncode} while starting: {self._last_line(name)} {where}"
            )
        if time.monotonic() > deadline:
            raise StackError(f"{name} was not ready within {START_TIMEOUT_S:.0f} s: {reason}. {where}")

    def _last_line(self, name: str) -> str:
        text = (self._dir.logs / f"{name}.log").read_text(encoding="utf-8", errors="replace").strip()
        if not text:
            return "it printed nothing."
        line = text.splitlines()[-1]
        try:
            event = orjson.loads(line)
            line = str(event.get("error") or event.get("exception") or event["event"])
        except (orjson.JSONDecodeError, AttributeError, KeyError):
            pass  # not a line of our logs: show it unchanged
        return line[-500:]

    async def _spawn(self, service: Service) -> _Child:
        child = self._children.setdefault(service.name, _Child(service))
        child.service = service
        child.state = "restarting" if child.restarts else "starting"
        with (self._dir.logs / f"{service.name}.log").open("ab") as output:
            child.process = await asyncio.create_subprocess_exec(
                *service.argv,
                env={**os.environ, **service.environment, "TZ": "UTC", "PYTHONUNBUFFERED": "1"},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_die_with_parent,
                start_new_session=True,
            )
        self._publish("starting")
        return child

    def _mark_healthy(self, child: _Child) -> None:
        child.state = "healthy"
        child.detail = ""
        child.healthy_at = child.ready_at = time.monotonic()

    async def _keep_all_running(self) -> None:
        """Restart each process that ends, in a task of its own, so that no process waits for another.

        When the in-memory broker ends, start the whole stack again and return: a new broker has a new address and no
        messages.
        """
        tasks = [asyncio.ensure_future(self._keep_running(child)) for child in self._children.values()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            task.result()
        while True:
            await self._stop_all()
            try:
                await self._start_all()
                return
            except StackError as error:
                self._publish("degraded", str(error))
                log.error("starting over failed", error=str(error))
                await asyncio.sleep(_LONGEST_BACK_OFF_S)

    async def _keep_running(self, child: _Child) -> None:
        """Restart a process whenever it ends. Returns when the in-memory broker has ended."""
        while child.process is not None:
            await self._until_ended(child, child.process)
            name = child.service.name
            self._note_end(child)
            await asyncio.sleep(_back_off_s(child.failures_in_a_row))
            if name == "broker" and self._kafka is None:
                return
            await self._spawn(child.service)
            await self._until_ready_again(child)

    async def _until_ended(self, child: _Child, process: asyncio.subprocess.Process) -> None:
        """Return when the process ends, or is ended because it was not ready for too long."""
        ended = asyncio.ensure_future(process.wait())
        try:
            while not (await asyncio.wait({ended}, timeout=READINESS_INTERVAL_S))[0]:
                self._note_readiness(child, await child.service.unready())
                if child.service.must_answer and time.monotonic() - child.ready_at > SILENT_AFTER_S:
                    log.error("service no longer answers, ending it", service=child.service.name)
                    await _end(process, SILENT_END_S)
        finally:
            ended.cancel()

    def _note_readiness(self, child: _Child, reason: str) -> None:
        if not reason:
            child.ready_at = time.monotonic()
            if child.state == "unready":
                self._mark_healthy(child)
                self._publish_health()
        elif time.monotonic() - child.ready_at > UNREADY_AFTER_S:
            if child.state != "unready":
                log.warning("service is not ready", service=child.service.name, reason=reason)
            child.state, child.detail = "unready", reason
            self._publish("degraded", f"{child.service.name} is not ready")

    def _note_end(self, child: _Child) -> None:
        code = child.process.returncode if child.process else None
        if child.state == "healthy" and time.monotonic() - child.healthy_at > STABLE_AFTER_S:
            child.failures_in_a_row = 0
        child.failures_in_a_row += 1
        child.restarts += 1
        child.state = "restarting"
        child.detail = f"ended with exit code {code}"
        name = child.service.name
        self._publish("degraded", f"{name} {child.detail}")
        log.warning("service ended, restarting", service=name, exit_code=code, restarts=child.restarts)

    async def _until_ready_again(self, child: _Child) -> None:
        """Return when the process is ready or has ended again. This may take long while another service is down."""
        while child.process is not None and child.process.returncode is None:
            try:
                await self._until_ready(child)
            except StackError as error:
                child.detail = str(error)
                self._publish("degraded", str(error))
                log.error("restart failed", service=child.service.name, error=str(error))
                continue
            self._publish_health()
            return

    def _publish_health(self) -> None:
        healthy = all(child.state == "healthy" for child in self._children.values())
        self._publish("healthy" if healthy else "degraded")

    async def _stop_all(self) -> None:
        for child in reversed(list(self._children.values())):
            process = child.process
            if process is None:
                continue
            if process.returncode is None and not await _end(process, STOP_TIMEOUT_S):
                log.error("service did not stop, killed", service=child.service.name)
            child.process = None
            if child.state != "failed":
                child.state = "stopped"

    def _publish(
        self,
        state: Literal["starting", "healthy", "degraded", "stopping", "stopped", "failed"],
        detail: str = "",
    ) -> None:
        services = [
            ServiceState(
                name=name,
                pid=child.process.pid if child.process else None,
                state=child.state,
                restarts=child.restarts,
                detail=child.detail,
                metrics_url=child.service.metrics_url,
                ready_url=child.service.ready_url,
            )
            for name, child in self._children.items()
        ]
        now = StackState(
            data_dir=self._dir.path,
            supervisor_pid=os.getpid(),
            started_at=self._started_at,
            state=state,
            detail=detail,
            broker="memory" if self._kafka is None else "kafka",
            environment=self._environment,
            services=services,
        )
        try:
            self._dir.write(now)
        except OSError as error:
            # On a full disk the stack keeps running, and the file keeps the last state that was written.
            log.error("state not written", error=str(error), state=state, detail=detail)


def _database_clients(data_dir: DataDir, ports: Ports, environment: Mapping[str, str]) -> list[Service]:
    """The services that use the database, in the order of their start."""
    services = [silver_service(index, ports, environment) for index in range(len(ports.metrics))]
    if ports.schedules:
        services.append(schedules_service(data_dir, ports.schedules, environment))
    if ports.offload:
        services.append(offload_service(ports.offload, environment))
    if ports.serving:
        services.append(serving_service(data_dir, ports.serving, environment))
    return services


def _create_topics(settings: Settings) -> None:
    """Create the topics before the consumers come: a metadata request creates one in the in-memory broker."""
    admin = AdminClient(kafka_client(settings))
    for topic in (*settings.raw_topics, settings.bronze_topic, settings.dlq_topic, settings.gaps_topic):
        admin.list_topics(topic, timeout=10)


def _prepare_database(settings: Settings) -> None:
    client = Client(**clickhouse_native(settings))
    try:
        apply_migrations(client, settings)
    finally:
        client.disconnect()


async def _end(process: asyncio.subprocess.Process, seconds: float) -> bool:
    """Send SIGTERM, and SIGKILL if the process has not ended in time. Returns whether SIGTERM was enough."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    try:
        await asyncio.wait_for(process.wait(), seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        return False
    return True


def _back_off_s(attempt: int) -> float:
    """Seconds before restart number `attempt` in a row: they double, with jitter."""
    return pause_s(_FIRST_BACK_OFF_S, attempt - 1, _LONGEST_BACK_OFF_S, jitter_s=_FIRST_BACK_OFF_S)


def main() -> int:
    """`python -m deploy.embedded.supervisor`; started by `medallion up`, not by hand.

    It inherits the lock of the folder, and keeps it until it ends.
    """
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded.supervisor")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--native-port", type=int, required=True)
    parser.add_argument("--http-port", type=int, required=True)
    parser.add_argument("--metrics-port", type=int, action="append", required=True, help="metrics of a Silver worker")
    parser.add_argument("--offload-port", type=int, default=0, help="run the hourly offload, with its metrics there")
    parser.add_argument("--serving-port", type=int, default=0, help="serve the page and Binance's interfaces there")
    parser.add_argument("--schedules-port", type=int, default=0, help="run the schedules, with their metrics there")
    parser.add_argument("--kafka-java", type=Path, help="run Kafka as the broker, with this java")
    parser.add_argument("--kafka-libs", type=Path, help="the folder of Kafka's jars")
    arguments = parser.parse_args()
    logs.configure("INFO", "supervisor")
    os.umask(0o077)
    data_dir = DataDir(arguments.data_dir)
    given = {name: value for name, value in os.environ.items() if name.startswith("MEDALLION_")}
    ports = Ports(
        arguments.native_port,
        arguments.http_port,
        tuple(arguments.metrics_port),
        arguments.offload_port,
        arguments.serving_port,
        arguments.schedules_port,
    )
    kafka = Kafka(arguments.kafka_java, arguments.kafka_libs) if arguments.kafka_java else None
    return asyncio.run(Supervisor(data_dir, ports, given, kafka).run())


if __name__ == "__main__":
    sys.exit(main())
