"""Dead letters of a re-derivation to where those of the Silver worker go: the DLQ topic, and the table behind it."""

from __future__ import annotations

import threading
from typing import Literal

import polars as pl
import pyarrow as pa

from config.settings import Settings
from offload.clickhouse.client import HotStore
from offload.errors import OffloadError
from silver_processor.clickhouse import ClickHouse
from silver_processor.core.refine import REJECT_COLUMNS
from silver_processor.inserts.dead_letters import PROCESSOR_VERSION, DeadLetterQueue, RawMessages, records
from silver_processor.inserts.producer import ConfirmedProducer
from silver_processor.retry import RetryPolicy, WorkerStoppedError

LETTERS_A_TIME = 1000
_KAFKA_SECONDS = 60.0
_TIMES: dict[str, Literal["us", "ms"]] = {
    "timestamp": "us",
    "received_at": "us",
    "ingested_at": "us",
    "rejected_at": "us",
    "published_at": "ms",
}


class PostError(OffloadError):
    """Kafka did not acknowledge dead letters; Silver has not been changed yet."""


class Post:
    """Sends letters; connects when there is a first one.

    The table takes a letter directly too, so that it holds it when the call returns: the topic's own delivery merges
    with it, being the same message and reason.
    """

    def __init__(self, settings: Settings, hot: HotStore) -> None:
        self._settings, self._hot = settings, hot
        self._stop = threading.Event()
        self._ends: tuple[RawMessages, DeadLetterQueue] | None = None

    def send(self, rejects: pl.DataFrame, rules_version: str) -> None:
        """Deliver one letter a reject (`REJECT_COLUMNS`).

        Raises:
            PostError: Kafka did not acknowledge them within a minute.
            HotStoreError: ClickHouse failed.
        """
        for some in rejects.iter_slices(LETTERS_A_TIME):
            self._send(some, rules_version)

    def _send(self, rejects: pl.DataFrame, rules_version: str) -> None:
        if self._ends is None:
            retry = RetryPolicy(self._stop)
            queue = DeadLetterQueue(self._settings.dlq_topic, ConfirmedProducer(self._settings, retry))
            self._ends = RawMessages(ClickHouse(self._settings, retry)), queue
        raw_messages, queue = self._ends
        typed = rejects.with_columns(pl.col("published_at").cast(pl.Datetime("ms", "UTC"))).select(REJECT_COLUMNS)
        table = typed.to_arrow()
        now = self._hot.rows("SELECT now64(6, 'UTC') AS now", {})[0]["now"]
        letters = records(table, raw_messages.payloads(table), now, PROCESSOR_VERSION, rules_version)
        timer = threading.Timer(_KAFKA_SECONDS, self._stop.set)
        timer.start()
        try:
            queue.send(letters)
        except WorkerStoppedError as error:
            message = (
                f"{len(letters)} dead letters were not taken by Kafka at {self._settings.kafka_bootstrap_servers}: "
                "see that it runs (`medallion status`), then run the same command again."
            )
            raise PostError(message) from error
        finally:
            timer.cancel()
        self._hot.insert("dlq_trades_log", to_log(letters))


def to_log(letters: list[dict[str, object]]) -> pa.Table:
    """Records of the DLQ topic as rows of dlq_trades_log."""
    frame = pl.DataFrame(letters, schema_overrides=_numbers(), infer_schema_length=None)
    moments = [pl.col(name).cast(pl.Datetime(unit, "UTC")) for name, unit in _TIMES.items()]
    place = [pl.lit(0, pl.UInt32).alias("dlq_partition"), pl.lit(0, pl.UInt64).alias("dlq_offset")]
    return frame.with_columns(*moments, *place).to_arrow(compat_level=pl.CompatLevel.oldest())


def _numbers() -> dict[str, type[pl.DataType]]:
    kinds: dict[str, type[pl.DataType]] = dict.fromkeys(_TIMES, pl.Int64)
    return kinds | {"raw_partition": pl.UInt32, "raw_offset": pl.UInt64, "payload_bytes": pl.UInt64}
