"""One Kafka node on a data folder: its ports, its settings, its formatted store, its command line."""

from __future__ import annotations

import base64
import subprocess
import uuid
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from deploy.embedded.kafka.jars import Kafka
from deploy.embedded.layout import StackError
from deploy.embedded.ports import LOOPBACK, free_ports, is_free

HEAP = "384m"
_LOG4J = Path(__file__).with_name("log4j2.xml")
_CONTROLLER_ID = 1
# Kafka's own protocol overhead on top of the largest message.
_OVERHEAD_BYTES = 1_048_576


class _Node(BaseModel):
    """What the Kafka of a data folder keeps through all starts: its id, and the ports at which clients find it."""

    model_config = ConfigDict(extra="forbid")

    cluster_id: str
    broker_port: int
    controller_port: int


def prepare(folder: Path, kafka: Kafka, max_message_bytes: int) -> str:
    """Make `folder` ready for a start, and format it before the first one. Returns the broker's `host:port`.

    Raises:
        StackError: a port is taken, the folder is damaged, or Kafka refuses to format it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    node = _node(folder)
    for port in (node.broker_port, node.controller_port):
        if not is_free(port):
            raise StackError(
                f"Port {port} on {LOOPBACK}, which the Kafka of {folder} has had since its first start, is taken: end "
                f"the program that has it, or remove {_node_file(folder)} and {folder / 'log'} to start empty."
            )
    _properties_file(folder).write_text(_properties(folder, node, max_message_bytes), encoding="utf-8")
    if not (folder / "log" / "meta.properties").exists():
        _format(folder, kafka, node)
    return f"{LOOPBACK}:{node.broker_port}"


def argv(folder: Path, kafka: Kafka) -> tuple[str, ...]:
    """The command line of the node that was prepared in `folder`; SIGTERM ends it in order."""
    return (*_java(kafka, HEAP), "kafka.Kafka", str(_properties_file(folder)))


def bootstrap_servers(folder: Path) -> str:
    """`host:port` of the node that was prepared in `folder`."""
    return f"{LOOPBACK}:{_node(folder).broker_port}"


def _node_file(folder: Path) -> Path:
    return folder / "node.json"


def _properties_file(folder: Path) -> Path:
    return folder / "server.properties"


def _node(folder: Path) -> _Node:
    file = _node_file(folder)
    try:
        return _Node.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        broker, controller = free_ports(2)
        identifier = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        # The format command would read a leading dash as an option.
        node = _Node(cluster_id="M" + identifier[1:], broker_port=broker, controller_port=controller)
        file.write_text(node.model_dump_json(indent=1), encoding="utf-8")
        return node
    except ValidationError as error:
        raise StackError(f"{file} is damaged: remove {folder} to start with an empty Kafka.") from error


def _java(kafka: Kafka, heap: str) -> tuple[str, ...]:
    return (
        str(kafka.java),
        f"-Xms{heap}",
        f"-Xmx{heap}",
        "-XX:+UseSerialGC",
        # Only the quick compiler: the node is ready sooner, which counts after a kill, and a small one needs no other.
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        f"-Dlog4j2.configurationFile={_LOG4J}",
        "-Dlog4j2.statusLoggerLevel=OFF",
        "-cp",
        str(kafka.libs / "*"),
    )


def _format(folder: Path, kafka: Kafka, node: _Node) -> None:
    command = ("kafka.tools.StorageTool", "format", "-t", node.cluster_id, "-c", str(_properties_file(folder)))
    done = subprocess.run([*_java(kafka, "128m"), *command], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise StackError(f"Kafka could not format {folder}: {said[-1] if said else f'exit code {done.returncode}'}")


def _properties(folder: Path, node: _Node, max_message_bytes: int) -> str:
    largest = max_message_bytes + _OVERHEAD_BYTES
    properties = {
        "process.roles": "broker,controller",
        "node.id": _CONTROLLER_ID,
        "listeners": f"BROKER://{LOOPBACK}:{node.broker_port},CONTROLLER://{LOOPBACK}:{node.controller_port}",
        "advertised.listeners": f"BROKER://{LOOPBACK}:{node.broker_port}",
        "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "BROKER",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"{_CONTROLLER_ID}@{LOOPBACK}:{node.controller_port}",
        "log.dirs": folder / "log",
        # After a kill the controller waits until the session of the killed broker has expired (9 s by default).
        "broker.session.timeout.ms": 2_000,
        "broker.heartbeat.interval.ms": 500,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
        "group.min.session.timeout.ms": 1_000,
        "message.max.bytes": largest,
        "replica.fetch.max.bytes": largest,
        # Each segment of a partition allocates its indexes at once. The default of 10 MB is for busier brokers.
        "log.index.size.max.bytes": 1_048_576,
        "log.segment.bytes": 134_217_728,
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())
