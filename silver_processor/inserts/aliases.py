"""Each market has one home among the Bronze partitions; trades under its other names are sent there.

ClickHouse shards Bronze by (exchange, symbol) in the exchange's own spelling. Two names of one market (`aliases` in the
symbols file) can so reach two partitions and two workers, of which neither knows what the other has inserted. The
market's home is the partition of its first name; whoever finds one of its trades elsewhere publishes the Bronze row
again to the home and inserts nothing. Sent twice it is a redelivery there: raw coordinates tell.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from schemas.records import BRONZE
from silver_processor.batching.batch import Message
from silver_processor.core.rules import Rules
from silver_processor.group.shards import partition_of
from silver_processor.inserts.delivery import Outgoing

PLACE = ["raw_topic", "raw_partition", "raw_offset", "published_at"]
_NAME = ["exchange", "exchange_symbol"]
_ROWS_A_MESSAGE = 8_192


class Shards(Protocol):
    """The sharding of the DDL (see `silver_processor.inserts.store.Store`)."""

    def shards_of(self, names: Sequence[tuple[str, str]], shards: int) -> list[int]:
        """The Bronze shard of each (exchange, symbol)."""


class Post(Protocol):
    """The broker (see `silver_processor.inserts.delivery.Delivery`)."""

    def partitions(self, topic: str) -> int:
        """How many partitions a topic has."""

    def send(self, topic: str, messages: Sequence[Outgoing]) -> None:
        """Return once all are durable."""


@dataclass
class Homes:
    """Where the markets with several names are at home.

    Raises (both methods):
        StoppedError: the worker stops while ClickHouse or the broker is away.
    """

    topic: str
    shards: int
    sharding: Shards
    post: Post
    _version: str = ""
    _elsewhere: pl.DataFrame | None = None

    def strangers(self, valid: pa.Table, partition: int, rules: Rules) -> npt.NDArray[np.bool_]:
        """Which judged rows (columns exchange, exchange_symbol) of a partition's message are at home in another."""
        aliases = self._aliases(rules)
        if aliases is None:
            return np.zeros(valid.num_rows, dtype=np.bool_)
        rows = pl.DataFrame(valid.select(_NAME)).join(aliases, on=_NAME, how="left", maintain_order="left")
        return (rows["home"].is_not_null() & (rows["home"] != partition)).to_numpy()

    def send_home(self, strangers: pa.Table, messages: Sequence[Message], rules: Rules) -> None:
        """Publish the Bronze rows of judged rows to their homes; return once they are durable there."""
        aliases = self._aliases(rules)
        if aliases is None or not strangers.num_rows:
            return
        wanted = pl.DataFrame(strangers.select([*PLACE, *_NAME])).join(aliases, on=_NAME)
        bronze = pl.DataFrame(pa.concat_tables([message.rows for message in messages]))
        rows = bronze.join(wanted.select(*PLACE, "home", "shard"), on=PLACE, maintain_order="left")
        outgoing = [
            Outgoing(str(shard).encode(), _container(part), int(str(home)))
            for (home, shard), group in rows.group_by("home", "shard", maintain_order=True)
            for part in group.select(BRONZE.names).iter_slices(_ROWS_A_MESSAGE)
        ]
        self.post.send(self.topic, outgoing)

    def _aliases(self, rules: Rules) -> pl.DataFrame | None:
        """`exchange, exchange_symbol, shard, home` of every second name; None where nothing can be a stranger."""
        if self.shards == 1:
            return None
        if self._version != rules.version:
            named = rules.markets.filter(pl.col("exchange_symbol") != pl.col("first_name"))
            names = list(named.select("exchange", "first_name").iter_rows())
            shards = self.sharding.shards_of(names, self.shards)
            partitions = self.post.partitions(self.topic)
            homes = [partition_of(shard, partitions) for shard in shards]
            self._elsewhere = named.select(_NAME).with_columns(
                pl.Series("shard", shards, dtype=pl.Int64), pl.Series("home", homes, dtype=pl.Int64)
            )
            self._version = rules.version
        return self._elsewhere


def _container(rows: pl.DataFrame) -> bytes:
    """An Avro container of Bronze rows, as ClickHouse would write it."""
    body = io.BytesIO()
    unsigned = pl.selectors.unsigned_integer()
    plain = rows.with_columns(unsigned.cast(pl.Int64), pl.selectors.datetime().dt.replace_time_zone(None))
    plain.write_avro(body, compression="deflate", name="row")
    return body.getvalue()
