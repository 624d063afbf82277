"""Quix Streams: one message a trade, a pydantic model, rows through its own batching sink.

`python -m bench.silver.contenders.quix BROKERS TOPIC CLICKHOUSE_PORT DATABASE`, in the environment of
`requirements-bench.txt`. It makes a checkpoint, and so an insert, every tenth of a second or 10,000 trades.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime

from clickhouse_driver import Client
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from bench.silver.contenders.trade_row import INSERT, BronzeTrade, row

_BROKERS, _TOPIC, _PORT, _DATABASE = sys.argv[1:5]
_CHECKPOINT_S = 0.1
_CHECKPOINT_TRADES = 10_000


class SilverSink(BatchingSink):  # type: ignore[misc]
    """Inserts the trades of a checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self._client = Client(
            "127.0.0.1", int(_PORT), database=_DATABASE, password=os.environ["MEDALLION_CLICKHOUSE_PASSWORD"]
        )

    def write(self, batch: SinkBatch) -> None:
        """Insert a batch."""
        now = datetime.now(UTC)
        rows = [row(item.value, batch.partition, item.offset, item.timestamp * 1_000, now) for item in batch]
        self._client.execute(INSERT, rows)


def main() -> None:
    """Consume until killed."""
    app = Application(
        broker_address=_BROKERS,
        consumer_group=f"quix-{_TOPIC}",
        auto_offset_reset="earliest",
        auto_create_topics=False,
        use_changelog_topics=False,
        commit_interval=_CHECKPOINT_S,
        commit_every=_CHECKPOINT_TRADES,
        loglevel="WARNING",
    )
    stream = app.dataframe(topic=app.topic(_TOPIC, value_deserializer="bytes"))
    stream.apply(BronzeTrade.model_validate_json).sink(SilverSink())
    app.run()


if __name__ == "__main__":
    main()
