"""Adapts dead letters and counted duplicates to a re-derivation, so that each message stays in one place.

A dead letter whose message now passes gets a note in `dlq_replays` before Silver has the trade. A message that now
fails gets a dead letter and a note while Silver still has its trade. The view `dlq_resolutions` evaluates a note by
what Silver has, so all notes take effect when Silver is replaced. A message is never both in Silver and an open dead
letter, and never in neither. All changes are computed from the tables, so a repetition completes what a crash left
undone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from offload.clickhouse.templates import render
from offload.difference.day import RederivedDay
from offload.difference.dead_letter_sender import DeadLetterSender
from offload.difference.hot_records import DUPLICATES, HotRecords, spill_suspects
from offload.difference.id_checksums import IdChecksums
from offload.difference.silver_difference import IDENTITY, REDERIVED_TOKEN, SilverDifference
from offload.difference.spill import Spill
from schemas.coordinates import COORDINATES
from schemas.reasons import Reason
from silver_processor.core.refine import REJECT_COLUMNS

_MESSAGES_A_STATEMENT = 1000
_NOTE_COLUMNS = [*COORDINATES, "exchange", "symbol", "timestamp", "rejected_at", "reason"]
# Bronze merges messages that are equal in these columns.
_CONTENT = [
    *("exchange", "symbol", "trade_id", "price_text", "quantity_text", "timestamp_raw", "side", "sequence"),
    *("kind", "matches"),
]
_SILVER_KEY: Sequence[str] = (*COORDINATES, *IDENTITY, "exchange_symbol", "received_at", "ingested_at")
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)


class DeadLetterChanges:
    """The changes for one exchange and day. Call `add_bucket` for each bucket, then `send`, then `confirm`.

    `records`: the dead letters and duplicates in ClickHouse; only those with suspect trade ids are compared.
    `resolved`: number of dead letters whose messages now pass. `written`: number of messages that now fail.
    """

    def __init__(
        self, day: RederivedDay, records: HotRecords, checksums: IdChecksums, folder: Path, buckets: int
    ) -> None:
        self._day, self._buckets = day, buckets
        self._dead_letters = spill_suspects(records.dead_letters, checksums, folder / "dead_letters", buckets)
        self._known_duplicates = spill_suspects(records.duplicates, checksums, folder / "known-duplicates", buckets)
        self._notes = Spill(folder / "notes", buckets)
        self._rejects = Spill(folder / "rejects", buckets)
        self._new_duplicates = Spill(folder / "new-duplicates", buckets)
        self._confirmed = Spill(folder / "confirmed", buckets)
        self._unconfirmed = Spill(folder / "unconfirmed", buckets)
        self._uncounted = Spill(folder / "uncounted", buckets)
        self.resolved = self.written = 0

    def add_bucket(self, difference: SilverDifference, bronze: pl.DataFrame, bucket: int) -> None:
        """Add the changes that follow from the difference of one bucket. `bronze`: its messages."""
        dead_letters, duplicates = self._dead_letters.read(bucket), self._known_duplicates.read(bucket)
        leaving = pl.concat([difference.removed, difference.replaced]).select(*_SILVER_KEY, "timestamp")
        # Only the worker compares messages with matches that Silver has under other ids, so its dead letters stay.
        covered = difference.valid.filter("is_covered")
        contradicting = dead_letters.filter(pl.col("reason") == Reason.TRADE_CONTRADICTS.value)
        staying_dead_letters = contradicting.join(covered, on=COORDINATES, how="semi")
        open_dead_letters = dead_letters.filter(~pl.col("is_resolved")).join(
            staying_dead_letters, on=COORDINATES, how="anti"
        )
        rejections = open_dead_letters.select(*COORDINATES, "rejected_at", "reason")
        in_bronze = difference.valid.join(rejections, on=COORDINATES, how="inner")
        passing = pl.concat([in_bronze, _merged_away(difference, bronze, open_dead_letters).select(in_bronze.columns)])
        failing = _newly_rejected(difference, leaving, duplicates)
        # A dead letter that a note resolves opens again when Silver loses the row, unless the note was confirmed.
        with_dead_letter = failing.join(dead_letters, on=COORDINATES, how="semi")
        without_dead_letter = failing.join(dead_letters, on=COORDINATES, how="anti")
        confirmed_before = with_dead_letter.join(
            dead_letters.filter(pl.col("is_confirmed")), on=COORDINATES, how="semi"
        )
        others = difference.valid.filter(~pl.col("is_row"))
        replaced = others.join(leaving, on=COORDINATES, how="semi")
        now_duplicates = pl.concat([replaced, passing.filter(~pl.col("is_row")).select(replaced.columns)])
        row_messages = difference.valid.filter(pl.col("is_row")).select(COORDINATES)
        no_duplicates = pl.concat([row_messages, failing.select(COORDINATES)])
        # Bronze keeps one of several messages with the same content, so the message of a repeated row may be gone.
        merged = difference.repeated.join(difference.valid, on=COORDINATES, how="anti")
        merged = merged.join(no_duplicates, on=COORDINATES, how="anti")
        wrongly_counted = duplicates.join(no_duplicates, on=COORDINATES, how="semi")
        no_rejection = (pl.lit(_EARLIEST, pl.Datetime("us", "UTC")).alias("rejected_at"), pl.lit("").alias("reason"))
        noted = failing.with_columns(pl.col("symbol_row").alias("symbol"), pl.col("timestamp_row").alias("timestamp"))
        self._notes.add(passing.select(*_NOTE_COLUMNS, "trade_id"))
        self._notes.add(noted.with_columns(*no_rejection).select(*_NOTE_COLUMNS, "trade_id"))
        self._confirmed.add(passing.select(*_NOTE_COLUMNS, "trade_id", "is_row"))
        self._unconfirmed.add(confirmed_before.select(*COORDINATES, "trade_id"))
        self._rejects.add(without_dead_letter.select(*REJECT_COLUMNS))
        not_counted = now_duplicates.join(duplicates, on=COORDINATES, how="anti")
        counted_now = [rows.select(*IDENTITY, "timestamp", *COORDINATES) for rows in (not_counted, merged)]
        self._new_duplicates.add(pl.concat(counted_now).unique(COORDINATES))
        self._uncounted.add(wrongly_counted.select(*COORDINATES, "trade_id").unique())
        self.resolved += passing.height
        self.written += failing.height

    def send(self, sender: DeadLetterSender) -> None:
        """Write the notes, dead letters and duplicates that must exist before Silver changes.

        Raises:
            HotStoreError: ClickHouse failed.
            DeadLetterSendError: Kafka did not acknowledge the dead letters.
        """
        for bucket in range(self._buckets):
            self._delete("delete_confirmations.sql", self._unconfirmed.read(bucket))
            self._note(self._notes.read(bucket), confirmed=False)
            sender.send(self._rejects.read(bucket), self._day.rules.version)
            self._count(self._new_duplicates.read(bucket))

    def no_duplicates(self) -> pl.DataFrame:
        """The messages (`COORDINATES`) that are counted as duplicates, and are the trade or dead letters now."""
        empty = pl.DataFrame(DUPLICATES.schema.as_arrow().empty_table()).select(COORDINATES)
        buckets = (self._uncounted.read(bucket).select(COORDINATES) for bucket in range(self._buckets))
        return pl.concat([empty, *buckets])

    def confirm(self) -> None:
        """Confirm notes and delete duplicates in ClickHouse; only valid once Silver has changed.

        Raises:
            HotStoreError: ClickHouse failed.
        """
        for bucket in range(self._buckets):
            self._delete("delete_duplicates.sql", self._uncounted.read(bucket))
            self._note(self._confirmed.read(bucket), confirmed=True)

    def _note(self, rows: pl.DataFrame, *, confirmed: bool) -> None:
        if not rows.height:
            return
        landed = pl.when("is_row").then(pl.lit("silver")).otherwise(pl.lit("duplicates")) if confirmed else pl.lit("")
        notes = rows.select(
            *_NOTE_COLUMNS,
            pl.lit(self._day.rules.version).alias("rules_version"),
            pl.lit(f"{REDERIVED_TOKEN}{self._day.part.id}").alias("replay_id"),
            pl.lit(datetime.now(UTC), pl.Datetime("us", "UTC")).alias("sent_at"),
            landed.alias("landed"),
            pl.lit(int(confirmed), pl.UInt8).alias("is_confirmed"),
        )
        self._day.hot.insert("dlq_replays", notes.to_arrow(compat_level=pl.CompatLevel.oldest()))

    def _count(self, rows: pl.DataFrame) -> None:
        if rows.height:
            token = f"{REDERIVED_TOKEN}{self._day.rules.version}"
            stamps = {"bronze_partition": 0, "bronze_offset": 0, "insert_token": token}
            stamped = rows.with_columns(pl.lit(value).alias(name) for name, value in stamps.items())
            self._day.hot.insert("duplicate_trades", stamped.to_arrow(compat_level=pl.CompatLevel.oldest()))

    def _delete(self, name: str, rows: pl.DataFrame) -> None:
        for batch in rows.iter_slices(_MESSAGES_A_STATEMENT):
            for shard in self._day.tiers.shards.each:
                shard.command(render(name), {"messages": coordinate_texts(batch)})


def _newly_rejected(difference: SilverDifference, leaving: pl.DataFrame, duplicates: pl.DataFrame) -> pl.DataFrame:
    """Rejects (`REJECT_COLUMNS`) of messages that were in Silver or duplicates, with that row's market and time.

    Bronze keeps one of several messages with the same content. If Silver's message is another of them, it fails for the
    same reason.
    """
    market = (pl.col("symbol").alias("symbol_row"), pl.col("timestamp").alias("timestamp_row"))
    former_rows = pl.concat([rows.select(*COORDINATES, *market) for rows in (leaving, duplicates)]).unique(COORDINATES)
    in_bronze = difference.rejects.join(former_rows, on=COORDINATES, how="inner")
    known = pl.concat([difference.rejects.select(COORDINATES), difference.valid.select(COORDINATES)])
    merged = leaving.join(known, on=COORDINATES, how="anti").rename(
        {"symbol": "symbol_row", "timestamp": "timestamp_row"}
    )
    by_content = difference.rejects.drop(*COORDINATES, "received_at", "ingested_at").unique(
        ["exchange", "symbol", "trade_id"], keep="first", maintain_order=True
    )
    same = merged.join(
        by_content, left_on=["exchange", "exchange_symbol", "trade_id"], right_on=["exchange", "symbol", "trade_id"]
    ).with_columns(pl.col("exchange_symbol").alias("symbol"))
    return pl.concat([in_bronze, same.select(in_bronze.columns)])


def _merged_away(difference: SilverDifference, bronze: pl.DataFrame, open_dead_letters: pl.DataFrame) -> pl.DataFrame:
    """Valid messages with a dead letter that Bronze has merged away: `difference.valid`, `rejected_at`, `reason`.

    Bronze keeps the latest of several messages with the same content. The result for it holds for all of them.
    """
    missing = open_dead_letters.join(bronze, on=COORDINATES, how="anti").select(
        *_CONTENT, *COORDINATES, "rejected_at", "reason"
    )
    kept = bronze.select(*_CONTENT, *(pl.col(name).alias(f"{name}_kept") for name in COORDINATES))
    named = [f"{name}_kept" for name in COORDINATES]
    valid = difference.valid.rename({name: f"{name}_kept" for name in COORDINATES})
    merged = missing.join(kept, on=_CONTENT).drop("exchange", "symbol", "trade_id").join(valid, on=named)
    return merged.unique(COORDINATES).with_columns(pl.lit(value=False).alias("is_row"))


def coordinate_texts(rows: pl.DataFrame) -> list[str]:
    """Coordinates as the `delete_*.sql` files compare them: topic, partition, offset, published_at (ms)."""
    parts = (pl.col("raw_topic"), pl.col("raw_partition"), pl.col("raw_offset"), pl.col("published_at").dt.epoch("ms"))
    return rows.select(pl.concat_str(parts, separator=" ").alias("text"))["text"].to_list()
