"""Sends the dead letters of a re-derivation to the DLQ topic and its table, as the Silver worker does."""

from __future__ import annotations

import threading
from typing import Literal

import polars as pl
import pyarrow as pa

from config.settings import Settings
from offload.clickhouse.client import HotStore
from offload.clickhouse.server import server_now_us
from offload.errors import OffloadError
from offload.tables.slices import instant
from silver_processor.clickhouse import ClickHouse
from silver_processor.core.refine import REJECT_COLUMNS
from silver_processor.inserts.dead_letters import PROCESSOR_VERSION, DeadLetterQueue, RawMessages, records
from silver_processor.inserts.producer import ConfirmedProducer
from silver_processor.retry import RetryPolicy, WorkerStoppedError

DEAD_LETTERS_A_BATCH = 1000
_KAFKA_SECONDS = 60.0
_TIMES: dict[str, Literal["us", "ms"]] = {
    "timestamp": "us",
    "received_at": "us",
    "ingested_at": "us",
    "rejected_at": "us",
    "published_at": "ms",
}


class DeadLetterSendError(OffloadError):
    """Kafka did not acknowledge dead letters. Silver is unchanged."""


class DeadLetterSender:
    """Sends dead letters to the topic and to the table. Connects with the first dead letter.

    It also inserts each dead letter into the table, so that the table has it when the call returns. The copy that comes
    through the topic has the same coordinates and reason, so the two rows merge.
    """

    def __init__(self, settings: Settings, hot: HotStore) -> None:
        self._settings, self._hot = settings, hot
        self._stop = threading.Event()
        self._ends: tuple[RawMessages, DeadLetterQueue] | None = None

    def send(self, rejects: pl.DataFrame, rules_version: str) -> None:
        """Send one dead letter for each reject (`REJECT_COLUMNS`).

        Raises:
            DeadLetterSendError: Kafka does not acknowledge them within a minute.
            HotStoreError: ClickHouse failed.
        """
        for batch in rejects.iter_slices(DEAD_LETTERS_A_BATCH):
            self._send(batch, rules_version)

    def _send(self, rejects: pl.DataFrame, rules_version: str) -> None:
        if self._ends is None:
            retry = RetryPolicy(self._stop)
            queue = DeadLetterQueue(self._settings.dlq_topic, ConfirmedProducer(self._settings, retry))
            self._ends = RawMessages(ClickHouse(self._settings, retry)), queue
        raw_messages, queue = self._ends
        typed = rejects.with_columns(pl.col("published_at").cast(pl.Datetime("ms", "UTC"))).select(REJECT_COLUMNS)
        table = typed.to_arrow()
        now = instant(server_now_us(self._hot))
        dead_letters = records(table, raw_messages.payloads(table), now, PROCESSOR_VERSION, rules_version)
        timer = threading.Timer(_KAFKA_SECONDS, self._stop.set)
        timer.start()
        try:
            queue.send(dead_letters)
        except WorkerStoppedError as error:
            message = (
                f"Kafka at {self._settings.kafka_bootstrap_servers} did not acknowledge {len(dead_letters)} dead"
                " letters. Check that it runs (`medallion status`), then run the same command again."
            )
            raise DeadLetterSendError(message) from error
        finally:
            timer.cancel()
        self._hot.insert("dlq_trades_log", dlq_log_rows(dead_letters))


def dlq_log_rows(dead_letters: list[dict[str, object]]) -> pa.Table:
    """Records of the DLQ topic as rows of dlq_trades_log."""
    frame = pl.DataFrame(dead_letters, schema_overrides=_integer_types(), infer_schema_length=None)
    moments = [pl.col(name).cast(pl.Datetime(unit, "UTC")) for name, unit in _TIMES.items()]
    place = [pl.lit(0, pl.UInt32).alias("dlq_partition"), pl.lit(0, pl.UInt64).alias("dlq_offset")]
    return frame.with_columns(*moments, *place).to_arrow(compat_level=pl.CompatLevel.oldest())


def _integer_types() -> dict[str, type[pl.DataType]]:
    kinds: dict[str, type[pl.DataType]] = dict.fromkeys(_TIMES, pl.Int64)
    return kinds | {"raw_partition": pl.UInt32, "raw_offset": pl.UInt64, "payload_bytes": pl.UInt64}
