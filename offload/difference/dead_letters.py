"""What a re-derivation means for dead letters and counted duplicates, so that each message stays in one place.

A letter of a message that passes now is noted in `dlq_replays` before Silver has the trade; a message that fails now
gets its letter, and a note too, while Silver still has it. A note takes effect with the very switch of Silver
(`dlq_resolutions`), so that a message is at no moment both in Silver and an open letter, or in neither. What is to do
is worked out from what the tables hold, so that a repetition does what a crash left undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from offload.clickhouse.templates import render
from offload.difference.balance import Balance
from offload.difference.day import Work
from offload.difference.delivery import Post
from offload.difference.known import Known, spilled
from offload.difference.outcome import COORDINATES, IDENTITY, Redone
from offload.difference.spill import Spill
from schemas.reasons import Reason
from silver_processor.core.refine import REJECT_COLUMNS

_PLACES_A_STATEMENT = 1000
_NOTE = [*COORDINATES, "exchange", "symbol", "timestamp", "rejected_at"]
# What makes two messages one Bronze row.
_SAID = [
    *("exchange", "symbol", "trade_id", "price_text", "quantity_text", "timestamp_raw", "side", "sequence"),
    *("kind", "matches"),
]
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class Mail:
    """The letters and duplicates of one exchange and day: `sort_out` bucket by bucket, then `send`, then `settle`.

    Of those that are `known` the ones in doubt.
    """

    def __init__(self, work: Work, known: Known, balance: Balance, folder: Path, buckets: int) -> None:
        self._work, self._buckets = work, buckets
        self._letters = spilled(known.letters, balance, folder / "letters", buckets)
        self._counted = spilled(known.counted, balance, folder / "counted", buckets)
        self._notes = Spill(folder / "notes", buckets)
        self._rejects = Spill(folder / "rejects", buckets)
        self._duplicates = Spill(folder / "duplicates", buckets)
        self._confirmed = Spill(folder / "confirmed", buckets)
        self._unconfirmed = Spill(folder / "unconfirmed", buckets)
        self._uncounted = Spill(folder / "uncounted", buckets)
        self.resolved = self.written = 0

    def sort_out(self, redone: Redone, bronze: pl.DataFrame, bucket: int) -> None:
        """Work out what the judgement of one bucket (of the messages `bronze`) means."""
        letters, counted = self._letters.read(bucket), self._counted.read(bucket)
        left = pl.concat([redone.removed, redone.replaced]).select(*_KEY_OF_SILVER, "timestamp")
        # What Silver has under other ids is compared by the worker only: its verdict stands.
        covered = redone.valid.filter("is_covered")
        compared = pl.col("reason") == Reason.TRADE_CONTRADICTS.value
        stands = letters.filter(compared).join(covered, on=COORDINATES, how="semi")
        opened = letters.filter(~pl.col("is_resolved")).join(stands, on=COORDINATES, how="anti")
        own = redone.valid.join(opened.select(*COORDINATES, "rejected_at"), on=COORDINATES, how="inner")
        passing = pl.concat([own, _twins(redone, bronze, opened).select(own.columns)])
        failing = _failing(redone, left, counted)
        # A letter that a note hides comes back by itself, unless the note was confirmed.
        hidden = failing.join(letters, on=COORDINATES, how="semi")
        unwritten = failing.join(letters, on=COORDINATES, how="anti")
        stuck = hidden.join(letters.filter(pl.col("is_confirmed")), on=COORDINATES, how="semi")
        others = redone.valid.filter(~pl.col("is_row"))
        lost = others.join(left, on=COORDINATES, how="semi")
        doubles = pl.concat([lost, passing.filter(~pl.col("is_row")).select(lost.columns)])
        mine = redone.valid.filter(pl.col("is_row")).select(COORDINATES)
        wrong = counted.join(pl.concat([mine, failing.select(COORDINATES)]), on=COORDINATES, how="semi")
        never = pl.lit(_EARLIEST, pl.Datetime("us", "UTC")).alias("rejected_at")
        noted = failing.with_columns(pl.col("symbol_row").alias("symbol"), pl.col("timestamp_row").alias("timestamp"))
        self._notes.add(passing.select(*_NOTE, "trade_id"))
        self._notes.add(noted.with_columns(never).select(*_NOTE, "trade_id"))
        self._confirmed.add(passing.select(*_NOTE, "trade_id", "is_row"))
        self._unconfirmed.add(stuck.select(*COORDINATES, "trade_id"))
        self._rejects.add(unwritten.select(*REJECT_COLUMNS))
        missing = doubles.join(counted, on=COORDINATES, how="anti")
        self._duplicates.add(missing.select(*IDENTITY, "timestamp", *COORDINATES))
        self._uncounted.add(wrong.select(*COORDINATES, "trade_id").unique())
        self.resolved += passing.height
        self.written += failing.height

    def send(self, post: Post) -> None:
        """What must be there before Silver changes.

        Raises:
            HotStoreError: ClickHouse failed.
            PostError: Kafka did not take the letters.
        """
        for bucket in range(self._buckets):
            self._delete("mail_unconfirm.sql", self._unconfirmed.read(bucket))
            self._note(self._notes.read(bucket), confirmed=False)
            post.send(self._rejects.read(bucket), self._work.rules.version)
            self._count(self._duplicates.read(bucket))

    def settle(self) -> None:
        """What can only be said when Silver has changed.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        for bucket in range(self._buckets):
            self._delete("mail_uncount.sql", self._uncounted.read(bucket))
            self._note(self._confirmed.read(bucket), confirmed=True)

    def _note(self, rows: pl.DataFrame, *, confirmed: bool) -> None:
        if not rows.height:
            return
        landed = pl.when("is_row").then(pl.lit("silver")).otherwise(pl.lit("duplicates")) if confirmed else pl.lit("")
        notes = rows.select(
            *_NOTE,
            pl.lit(self._work.rules.version).alias("rules_version"),
            pl.lit(f"rederive:{self._work.part.id}").alias("replay_id"),
            pl.lit(datetime.now(UTC), pl.Datetime("us", "UTC")).alias("sent_at"),
            landed.alias("landed"),
            pl.lit(int(confirmed), pl.UInt8).alias("is_confirmed"),
        )
        self._work.hot.insert("dlq_replays", notes.to_arrow(compat_level=pl.CompatLevel.oldest()))

    def _count(self, rows: pl.DataFrame) -> None:
        if rows.height:
            more = {"bronze_partition": 0, "bronze_offset": 0, "insert_token": f"rederive:{self._work.rules.version}"}
            stamped = rows.with_columns(pl.lit(value).alias(name) for name, value in more.items())
            self._work.hot.insert("duplicate_trades", stamped.to_arrow(compat_level=pl.CompatLevel.oldest()))

    def _delete(self, name: str, rows: pl.DataFrame) -> None:
        for some in rows.iter_slices(_PLACES_A_STATEMENT):
            self._work.hot.command(render(name), {"places": places(some)})


_KEY_OF_SILVER: Sequence[str] = (*COORDINATES, *IDENTITY, "exchange_symbol", "received_at", "ingested_at")


def _failing(redone: Redone, left: pl.DataFrame, counted: pl.DataFrame) -> pl.DataFrame:
    """Rejects (`REJECT_COLUMNS`) of messages that were in Silver or counted, with that row's market and time.

    Bronze keeps one of several messages that say the same: of such a one Silver's may be another, which then fails
    for the same reason.
    """
    market = (pl.col("symbol").alias("symbol_row"), pl.col("timestamp").alias("timestamp_row"))
    was = pl.concat([rows.select(*COORDINATES, *market) for rows in (left, counted)]).unique(COORDINATES)
    own = redone.rejects.join(was, on=COORDINATES, how="inner")
    known = pl.concat([redone.rejects.select(COORDINATES), redone.valid.select(COORDINATES)])
    merged = left.join(known, on=COORDINATES, how="anti").rename({"symbol": "symbol_row", "timestamp": "timestamp_row"})
    like = redone.rejects.drop(*COORDINATES, "received_at", "ingested_at").unique(
        ["exchange", "symbol", "trade_id"], keep="first", maintain_order=True
    )
    same = merged.join(
        like, left_on=["exchange", "exchange_symbol", "trade_id"], right_on=["exchange", "symbol", "trade_id"]
    ).with_columns(pl.col("exchange_symbol").alias("symbol"))
    return pl.concat([own, same.select(own.columns)])


def _twins(redone: Redone, bronze: pl.DataFrame, opened: pl.DataFrame) -> pl.DataFrame:
    """Valid messages (columns of `redone.valid`, `rejected_at`) that have a letter, and that Bronze has merged away.

    Bronze keeps the latest of several messages that say the same; what it says of that one goes for them all.
    """
    lost = opened.join(bronze, on=COORDINATES, how="anti").select(*_SAID, *COORDINATES, "rejected_at")
    kept = bronze.select(*_SAID, *(pl.col(name).alias(f"{name}_kept") for name in COORDINATES))
    named = [f"{name}_kept" for name in COORDINATES]
    valid = redone.valid.rename({name: f"{name}_kept" for name in COORDINATES})
    found = lost.join(kept, on=_SAID).drop("exchange", "symbol", "trade_id").join(valid, on=named)
    return found.unique(COORDINATES).with_columns(pl.lit(value=False).alias("is_row"))


def places(rows: pl.DataFrame) -> list[str]:
    """Coordinates as `mail_*.sql` compare them: topic, partition, offset, published_at (ms)."""
    parts = (pl.col("raw_topic"), pl.col("raw_partition"), pl.col("raw_offset"), pl.col("published_at").dt.epoch("ms"))
    return rows.select(pl.concat_str(parts, separator=" ").alias("place"))["place"].to_list()
