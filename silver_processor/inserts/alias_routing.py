"""Alias routing: all trades of a market reach one Bronze partition, under whichever name of the market they came.

ClickHouse shards Bronze by (exchange, symbol) in the exchange's own spelling. Two names of one market (`aliases` in the
symbols file) can therefore reach two partitions, and two workers that do not know each other's inserts. A market's
trades belong to the partition of its first name. A worker that gets such a trade from another partition does not insert
it, but publishes its Bronze row again to the right partition. A row that is published twice is a redelivery there: its
raw coordinates are the same.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from schemas.coordinates import COORDINATES
from schemas.records import BRONZE
from silver_processor.batching.batch import Message
from silver_processor.clickhouse import ClickHouse
from silver_processor.core.rules import Rules
from silver_processor.group.shards import partition_of
from silver_processor.inserts.producer import ConfirmedProducer, OutgoingMessage

_NAME = ["exchange", "exchange_symbol"]
_ROWS_A_MESSAGE = 8_192
_SHARDS = Path(__file__).with_name("sql").joinpath("shards.sql").read_text(encoding="utf-8")


class BronzeShards:
    """The sharding of the Bronze topic, as ClickHouse computes it."""

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def shards_of(self, names: Sequence[tuple[str, str]], shards: int) -> list[int]:
        """The shard of each (exchange, symbol), by the expression of ddl/0003_bronze_stream.sql.

        Raises:
            WorkerStoppedError: the worker stops.
        """
        exchanges, symbols = ([name[part] for name in names] for part in (0, 1))
        result = self._clickhouse.select(_SHARDS, {"exchanges": exchanges, "symbols": symbols, "shards": shards})
        return [int(shard) for shard in result["shards"][0].as_py()]


@dataclass
class AliasRouting:
    """Finds rows whose market belongs to another partition, and publishes them there.

    `topic`: the Bronze topic. `shards`: the number of Bronze shards.

    Raises (both methods):
        WorkerStoppedError: the worker stops while ClickHouse or the broker is away.
    """

    topic: str
    shards: int
    sharding: BronzeShards
    producer: ConfirmedProducer
    _version: str = ""
    _aliases: pl.DataFrame | None = None

    def is_elsewhere(self, valid: pa.Table, partition: int, rules: Rules) -> npt.NDArray[np.bool_]:
        """Whether each valid row (columns exchange, exchange_symbol) from `partition` belongs to another partition."""
        aliases = self._routes(rules)
        if aliases is None:
            return np.zeros(valid.num_rows, dtype=np.bool_)
        rows = pl.DataFrame(valid.select(_NAME)).join(aliases, on=_NAME, how="left", maintain_order="left")
        return (rows["target"].is_not_null() & (rows["target"] != partition)).to_numpy()

    def forward(self, rows: pa.Table, messages: Sequence[Message], rules: Rules) -> None:
        """Publish the Bronze rows of valid rows to their markets' partitions. Return once they are durable."""
        aliases = self._routes(rules)
        if aliases is None or not rows.num_rows:
            return
        wanted = pl.DataFrame(rows.select([*COORDINATES, *_NAME])).join(aliases, on=_NAME)
        bronze = pl.DataFrame(pa.concat_tables([message.rows for message in messages]))
        routed = bronze.join(wanted.select(*COORDINATES, "target", "shard"), on=COORDINATES, maintain_order="left")
        outgoing = [
            OutgoingMessage(str(shard).encode(), _container(part), int(str(target)))
            for (target, shard), group in routed.group_by("target", "shard", maintain_order=True)
            for part in group.select(BRONZE.names).iter_slices(_ROWS_A_MESSAGE)
        ]
        self.producer.send(self.topic, outgoing)

    def _routes(self, rules: Rules) -> pl.DataFrame | None:
        """`exchange, exchange_symbol, shard, target` (partition) of every alias; None if there is only one shard."""
        if self.shards == 1:
            return None
        if self._version != rules.version:
            aliases = rules.markets.filter(pl.col("exchange_symbol") != pl.col("first_name"))
            names = list(aliases.select("exchange", "first_name").iter_rows())
            shards = self.sharding.shards_of(names, self.shards)
            partitions = self.producer.partitions(self.topic)
            targets = [partition_of(shard, partitions) for shard in shards]
            self._aliases = aliases.select(_NAME).with_columns(
                pl.Series("shard", shards, dtype=pl.Int64), pl.Series("target", targets, dtype=pl.Int64)
            )
            self._version = rules.version
        return self._aliases


def _container(rows: pl.DataFrame) -> bytes:
    """An Avro container of Bronze rows, as ClickHouse writes it."""
    body = io.BytesIO()
    unsigned = pl.selectors.unsigned_integer()
    plain = rows.with_columns(unsigned.cast(pl.Int64), pl.selectors.datetime().dt.replace_time_zone(None))
    plain.write_avro(body, compression="deflate", name="row")
    return body.getvalue()
