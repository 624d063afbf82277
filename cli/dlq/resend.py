"""Replays dead letters: validates them by today's rules and sends those that pass to the Bronze topic.

A message that passes keeps its raw coordinates and takes the way of every Bronze row: the same table, worker and
de-duplication. Sent twice, it still lands once. A note in `dlq_replays` is written first. After a crash the dead letter
is open, and the next replay sends it again. A message counts as resolved as soon as it is inserted (`dlq_resolutions`).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl
import pyarrow as pa
from clickhouse_connect.driver import Client
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from cli.common.context import ServerError
from cli.common.statements import sql_text
from cli.dlq.parse_again import parse_dead_letters_again
from config.clickhouse_arrow import insert_arrow, select_arrow
from config.settings import Settings
from schemas.coordinates import COORDINATES
from schemas.records import BRONZE
from silver_processor.core.rules import Rules
from silver_processor.core.versions import ABOUT_VERSIONS
from silver_processor.revalidation import FROM_BRONZE, PASSES, revalidate

# A dead letter may contain 64 KiB of its message.
PAGE_ROWS = 2_000
_POLL_S = 0.2
_SINK = "bronze_trades_sink"
_VERSIONS = "another version of a trade: `medallion dlq accept` takes it over"
_START: dict[str, Any] = {"after_topic": "", "after_partition": 0, "after_offset": 0, "after_published_ms": -1}


@dataclass(frozen=True)
class VerdictCount:
    """How many dead letters of one reason get the same verdict now; `after` is empty where they pass.

    `why`: why a dead letter could not be parsed again, or why another version is not sent.
    """

    before: str
    after: str
    records: int
    why: str = ""


@dataclass(frozen=True)
class ReplayProgress:
    """What became of the messages sent: in Silver, duplicates, rejected again (by which rules), still in flight."""

    silver: int = 0
    duplicates: int = 0
    again: int = 0
    pending: int = 0
    again_by: str = ""


class Replayer:
    """One replay over ClickHouse's HTTP interface.

    Raises (every method):
        ServerError: ClickHouse refused or does not answer; what was sent stays sent, run the command again.
    """

    def __init__(self, client: Client, settings: Settings, rules: Rules, filters: Mapping[str, object]) -> None:
        self._client, self._settings, self._rules = client, settings, rules
        self._filters = dict(filters)
        self.replay_id = str(uuid.uuid4())

    def run(
        self, *, send: bool, progress: Callable[[int, int], None] = lambda _validated, _passing: None
    ) -> list[VerdictCount]:
        """Validate every chosen dead letter, page by page; with `send`, send those that pass to the Bronze topic.

        `progress` is called after each page with how many were validated so far, and how many of these pass.
        """
        counts: dict[tuple[str, str, str], int] = {}
        validated = passed = 0
        for page in self._pages():
            dead_letters, why = parse_dead_letters_again(page, self._settings, self._ask)
            found = revalidate(dead_letters, self._rules)
            # A dead letter that was parsed again keeps its reason.
            notes = pl.when(pl.col("before").is_in(ABOUT_VERSIONS)).then(pl.lit(_VERSIONS)).otherwise("why")
            verdicts = found.verdicts.with_columns(pl.Series("why", why, dtype=pl.String)).with_columns(
                notes.alias("why")
            )
            for before, after, note, number in verdicts.group_by("before", "after", "why").len().iter_rows():
                counts[before, after, note] = counts.get((before, after, note), 0) + number
            if send and found.passing.num_rows:
                passing = pl.DataFrame(found.passing)
                self._note(passing)
                self._publish(passing)
            validated, passed = validated + page.num_rows, passed + found.passing.num_rows
            progress(validated, passed)
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
        return [VerdictCount(before, after, number, note) for (before, after, note), number in ordered]

    def follow(
        self, timeout_s: float, progress: Callable[[ReplayProgress], None] = lambda _now: None
    ) -> ReplayProgress:
        """Wait until no message of this replay is in flight, at most `timeout_s`; then confirm what has landed.

        `progress` is called each time the server was asked.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            (row,) = self._select("progress", {"replay_id": self.replay_id}).to_pylist()
            now = ReplayProgress(**row)
            progress(now)
            if not now.pending or time.monotonic() >= deadline:
                self.confirm()
                return now
            time.sleep(_POLL_S)

    def confirm(self) -> None:
        """Confirm the messages that have landed, also those of earlier, interrupted replays."""
        try:
            self._client.command(sql_text("confirm"))
        except (ClickHouseError, HTTPError) as error:
            raise self._explained(error) from error

    def _pages(self) -> Iterator[pa.Table]:
        after = dict(_START)
        while True:
            asked = {**self._filters, **after, "shards": self._settings.bronze_shards, "page": PAGE_ROWS}
            asked["from_bronze"] = sorted(FROM_BRONZE)
            page = self._select("candidates", asked)
            if page.num_rows:
                yield page
            if page.num_rows < PAGE_ROWS:
                return
            last = pl.DataFrame(page.slice(page.num_rows - 1))
            after = {
                "after_topic": last["raw_topic"][0],
                "after_partition": last["raw_partition"][0],
                "after_offset": last["raw_offset"][0],
                "after_published_ms": last["published_at"].dt.epoch("ms")[0],
            }

    def _note(self, passing: pl.DataFrame) -> None:
        sent_at = pl.lit(datetime.now(UTC), pl.Datetime("us", "UTC"))
        self._insert(
            "dlq_replays",
            passing.select(
                *COORDINATES,
                "exchange",
                pl.col("canonical").alias("symbol"),
                "timestamp",
                pl.lit(self._rules.version).alias("rules_version"),
                "rejected_at",
                "reason",
                pl.lit(self.replay_id).alias("replay_id"),
                sent_at.alias("sent_at"),
                pl.lit("").alias("landed"),
                pl.lit(0, pl.UInt8).alias("is_confirmed"),
            ),
        )

    def _publish(self, passing: pl.DataFrame) -> None:
        """One insert for each shard, since all rows of a Bronze message share its key."""
        for (shard,), rows in passing.group_by("shard", maintain_order=True):
            self._insert(_SINK, rows.select(*BRONZE.names, pl.lit(str(shard)).alias("_key")))

    def _select(self, name: str, parameters: Mapping[str, object]) -> pa.Table:
        return self._ask(sql_text(name), parameters)

    def _ask(self, query: str, parameters: Mapping[str, object]) -> pa.Table:
        try:
            return select_arrow(self._client, query, parameters)
        except (ClickHouseError, HTTPError) as error:
            raise self._explained(error) from error

    def _insert(self, table: str, rows: pl.DataFrame) -> None:
        content = rows.to_arrow(compat_level=pl.CompatLevel.oldest())
        try:
            insert_arrow(self._client, table, content, {"max_partitions_per_insert_block": 0, "async_insert": 0})
        except (ClickHouseError, HTTPError) as error:
            raise self._explained(error) from error

    def _explained(self, error: Exception) -> ServerError:
        address = f"{self._settings.clickhouse_host}:{self._settings.clickhouse_http_port}"
        return ServerError(
            f"ClickHouse at {address}: {error} Nothing is lost: see `medallion status` and `medallion ddl status`, "
            "then run the same command again."
        )


def count_passing(changes: list[VerdictCount]) -> int:
    """How many of the dead letters pass now."""
    return sum(change.records for change in changes if change.after == PASSES)
