"""The obvious Faust agent: one event a trade, a pydantic model, row inserts.

`python -m bench.silver.contenders.obvious_faust BROKERS TOPIC CLICKHOUSE_PORT DATABASE ROWS_AN_INSERT`. A row waits at
most a tenth of a second for other rows of its insert. If ROWS_AN_INSERT is 1, each trade is an insert.
"""

from __future__ import annotations

import os
import sys
from datetime import UTC, datetime
from typing import Any

import faust
from clickhouse_driver import Client

from bench.silver.contenders.trade_row import INSERT, BronzeTrade, row

_BROKERS, _TOPIC, _PORT, _DATABASE, _ROWS = sys.argv[1:6]
_WITHIN_S = 0.1
app = faust.App(
    f"obvious-{_TOPIC}",
    broker=[f"kafka://{server}" for server in _BROKERS.split(",")],
    store="memory://",
    web_enabled=False,
    topic_disable_leader=True,
    topic_allow_declare=False,
    consumer_auto_offset_reset="earliest",
)
topic = app.topic(_TOPIC, value_type=bytes, value_serializer="raw")
client = Client("127.0.0.1", int(_PORT), database=_DATABASE, password=os.environ["MEDALLION_CLICKHOUSE_PASSWORD"])


def _row(trade: BronzeTrade, message: Any, validated_at: datetime) -> tuple[Any, ...]:
    return row(trade, message.partition, message.offset, round(message.timestamp * 1e6), validated_at)


@app.agent(topic)  # type: ignore[untyped-decorator]
async def silver(stream: Any) -> None:
    """Validate trades and insert them."""
    if int(_ROWS) == 1:
        async for event in stream.events():
            trade = BronzeTrade.model_validate_json(event.value)
            client.execute(INSERT, [_row(trade, event.message, datetime.now(UTC))])
        return
    async for events in stream.noack().noack_take(int(_ROWS), within=_WITHIN_S):
        now = datetime.now(UTC)
        client.execute(
            INSERT, [_row(BronzeTrade.model_validate_json(event.value), event.message, now) for event in events]
        )
        for event in events:
            event.ack()


if __name__ == "__main__":
    app.Worker(loglevel="WARNING", quiet=True, redirect_stdouts=False).execute_from_commandline()
