"""An in-memory Kafka broker in a process of its own: `python -m deploy.embedded.broker --state FILE`.

It is the mock cluster of the librdkafka in the confluent-kafka wheel: one broker on a free port of 127.0.0.1. FILE gets
`host:port` in one atomic step once clients can connect. SIGTERM or SIGINT ends the broker and removes FILE.

Its behaviour, measured with librdkafka 2.16.0 (tests/kafka_engine/test_broker.py tests what the pipeline relies on):

- Topics, messages, offsets and group commits are in memory. Nothing survives a restart.
- **A partition keeps about 5 MiB and at most 100,000 produce batches**, read or not. Beyond that the oldest batches are
  deleted, and a consumer that has not read them is reset. So a producer has to wait for its consumers
  (`producers.kafka.flow_control.FlowControl`).
- The size is that of the batches *as sent*. Compressed batches are stored as they are, so `compression.type` makes more
  messages fit. The broker has no limit for a message; `message.max.bytes` is the producer's own. 32 MB pass.
- A fetch that is behind searches a partition's batches from the oldest on. So many small batches make it slow:
  publishers do not compress what goes to this broker.
- **A batch larger than 5 MiB as sent is lost, and the batch after it as well**, unless it is the partition's first:
  the start of the log moves past them. No error tells of it: the producer gets an ordinary acknowledgement.
- A request for a topic's metadata creates the topic, with 4 partitions. CreateTopics is not supported.
  `--topic NAME:PARTITIONS` creates a topic at the start, with another number of partitions.
- A fetch that finds nothing is answered only after the consumer's `fetch.wait.max.ms`, even if a message comes earlier.
- Message timestamps (CreateTime), keys, headers and null values are kept. `auto.offset.reset`, offset commits,
  consumer groups and idempotent producers work. The first join of a group waits `--rebalance-delay-ms` (librdkafka's
  default: 3,000). A later rebalance takes the members' `session.timeout.ms` less a second, even if all rejoin at once.
"""

from __future__ import annotations

import argparse
import ctypes
import signal
import sys
from pathlib import Path

import structlog
from confluent_kafka import cimpl

from config.process import logs
from config.whole_file import write_whole

REBALANCE_DELAY_MS = 500
_RD_KAFKA_PRODUCER = 0
_ERROR_BYTES = 512
_log = structlog.get_logger(__name__)
_LOG_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p)


def _log_librdkafka(_client: object, _level: int, facility: bytes, text: bytes) -> None:
    _log.error("librdkafka", facility=facility.decode(errors="replace"), error=text.decode(errors="replace"))


_LOG = _LOG_CALLBACK(_log_librdkafka)  # kept here, because librdkafka holds no reference to it


class BrokerError(RuntimeError):
    """The in-memory broker could not be set up."""


class InMemoryBroker:
    """One mock cluster of one broker in this process, alive until `close`.

    Raises:
        BrokerError: librdkafka refused; the message carries its reason.
    """

    def __init__(self, topics: dict[str, int] | None = None, rebalance_delay_ms: int = REBALANCE_DELAY_MS) -> None:
        library = _librdkafka()
        error = ctypes.create_string_buffer(_ERROR_BYTES)
        # A mock cluster belongs to a client. The client becomes the owner of the configuration.
        self._library = library
        configuration = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(configuration, b"log_level", b"3", error, _ERROR_BYTES)
        library.rd_kafka_conf_set_log_cb(configuration, _LOG)
        self._client = library.rd_kafka_new(_RD_KAFKA_PRODUCER, configuration, error, _ERROR_BYTES)
        if not self._client:
            raise BrokerError(f"librdkafka made no client: {error.value.decode()}")
        self._cluster = library.rd_kafka_mock_cluster_new(self._client, 1)
        if not self._cluster:
            library.rd_kafka_destroy(self._client)
            raise BrokerError("librdkafka made no mock cluster: is 127.0.0.1 usable and a port free?")
        library.rd_kafka_mock_group_initial_rebalance_delay_ms(self._cluster, rebalance_delay_ms)
        for topic, partitions in (topics or {}).items():
            created = (
                partitions > 0 and library.rd_kafka_mock_topic_create(self._cluster, topic.encode(), partitions, 1) == 0
            )
            if not created:
                self.close()
                raise BrokerError(
                    f"topic {topic!r} with {partitions} partitions was refused: name each topic once, with at least one"
                    " partition"
                )

    @property
    def bootstrap_servers(self) -> str:
        """`host:port`, ready for clients."""
        return str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def close(self) -> None:
        """Stop serving and forget everything."""
        self._library.rd_kafka_mock_cluster_destroy(self._cluster)
        self._library.rd_kafka_destroy(self._client)


def _librdkafka() -> ctypes.CDLL:
    """The librdkafka that confluent-kafka has loaded, with the signatures of the functions used here."""
    # The extension module depends on librdkafka, so librdkafka's symbols are found through it.
    library = ctypes.CDLL(cimpl.__file__)
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    signatures = {
        "rd_kafka_conf_new": (pointer, []),
        "rd_kafka_conf_set": (number, [pointer, text, text, text, ctypes.c_size_t]),
        "rd_kafka_conf_set_log_cb": (None, [pointer, _LOG_CALLBACK]),
        "rd_kafka_new": (pointer, [number, pointer, text, ctypes.c_size_t]),
        "rd_kafka_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_new": (pointer, [pointer, number]),
        "rd_kafka_mock_cluster_destroy": (None, [pointer]),
        "rd_kafka_mock_cluster_bootstraps": (text, [pointer]),
        "rd_kafka_mock_topic_create": (number, [pointer, text, number, number]),
        "rd_kafka_mock_group_initial_rebalance_delay_ms": (None, [pointer, ctypes.c_int32]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


def write_state(path: Path, bootstrap_servers: str) -> None:
    """Publish the address: readers see the whole file or none."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, bootstrap_servers.encode())


def _topic(text: str) -> tuple[str, int]:
    name, _, partitions = text.rpartition(":")
    if not name or not partitions.isdigit() or int(partitions) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:PARTITIONS, e.g. trades:4")
    return name, int(partitions)


def main(arguments: list[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m deploy.embedded.broker", description="an in-memory Kafka broker")
    parser.add_argument("--state", type=Path, required=True, help="file to which the address is written, host:port")
    parser.add_argument(
        "--topic",
        type=_topic,
        action="append",
        default=[],
        metavar="NAME:PARTITIONS",
        help="a topic to create at the start; repeatable",
    )
    parser.add_argument(
        "--rebalance-delay-ms",
        type=int,
        default=REBALANCE_DELAY_MS,
        help="how long the first join of a group waits for more members",
    )
    options = parser.parse_args(arguments)
    stop_signals = {signal.SIGTERM, signal.SIGINT}
    # Blocked before librdkafka starts its threads, so that none of them takes the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, stop_signals)
    logs.configure("INFO", "broker")
    broker = InMemoryBroker(dict(options.topic), options.rebalance_delay_ms)
    write_state(options.state, broker.bootstrap_servers)
    _log.info("ready", address=broker.bootstrap_servers)
    signal.sigwait(stop_signals)
    options.state.unlink(missing_ok=True)
    broker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
