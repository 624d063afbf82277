"""Makes one insert durable: new trades go into Silver and Gold, duplicates are counted, rejects become dead letters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from schemas.coordinates import COORDINATES
from schemas.reasons import Reason
from schemas.records import SILVER
from silver_processor.batching.batch import Message, Validated, duplicate_rows, validate, with_insert_columns
from silver_processor.clickhouse import ClickHouse, SilverPausedError
from silver_processor.core.latency import Latency, latencies
from silver_processor.core.refine import partly_known, refuse
from silver_processor.core.rules import Rules
from silver_processor.core.versions import HELD, NONE_OVERRULED, compare, contradicting, overruled
from silver_processor.inserts.alias_routing import AliasRouting
from silver_processor.inserts.dead_letters import DeadLetterWriter
from silver_processor.inserts.rulebook import RuleBook
from silver_processor.retry import RetryPolicy, WorkerStoppedError
from silver_processor.seen.by_market import MarketTrades, by_market
from silver_processor.seen.held_trades import HeldTrades
from silver_processor.seen.index import SeenTrades, Split
from silver_processor.seen.rederivations import LIVE, RederivationFollower

_PAUSE_POLL_SECONDS = 0.2
_MOMENT = SILVER.field("timestamp").type
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class InsertOutcome:
    """The counts of one insert: `rows` = `fresh` + `duplicates` + rejects (`reasons`) + `routed`.

    `fresh`: new trades. `duplicates`: rows of trades that Silver held already, redelivered messages among them;
    `not_compared` of them could not be compared with their trade, because its row has left Silver. `reasons`: rejects
    by reason. `routed`: rows that alias routing sent to another partition. `insert_seconds`: duration of the Silver
    insert. `latencies`: of the new trades, until Silver and Gold showed them.
    """

    rows: int
    fresh: int
    duplicates: int
    reasons: dict[str, int]
    insert_seconds: float
    latencies: list[Latency] = field(default_factory=list)
    routed: int = 0
    not_compared: int = 0


@dataclass(frozen=True, slots=True)
class _Known:
    """Counts of valid rows that are no new trades: duplicates, and dead letters by reason."""

    duplicates: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    not_compared: int = 0


def _no_check() -> None:
    """Allow every request."""


def _without(rows: pa.Table, others: pl.DataFrame) -> pa.Table:
    """The rows whose raw message (columns `COORDINATES`) is not among `others`."""
    if not others.height:
        return rows
    place = pl.DataFrame(rows.select(COORDINATES)).with_row_index("row")
    return rows.take(place.join(others, on=COORDINATES, how="anti", maintain_order="left")["row"].to_arrow())


class SilverWriter:
    """Writes inserts one after the other. A call returns once everything is durable, or raises."""

    def __init__(
        self,
        topic: str,
        rules: RuleBook,
        clickhouse: ClickHouse,
        held: HeldTrades,
        dead_letters: DeadLetterWriter,
        retry: RetryPolicy,
        routing: AliasRouting | None = None,
    ) -> None:
        self._topic = topic
        self._rules = rules
        self._clickhouse = clickhouse
        self._held = held
        self._dead_letters = dead_letters
        self._retry = retry
        self._routing = routing
        self._rederivations = RederivationFollower(held.rederivations)

    def prepare(self, messages: Sequence[Message]) -> Validated:
        """Validate messages ahead of their insert, by the current rules. Uses neither the index nor a server."""
        return validate(messages, self._topic, self._rules.current, datetime.now(UTC))

    def write(
        self,
        messages: Sequence[Message],
        token: str,
        seen: SeenTrades,
        in_doubt: bool,
        prepared: Validated | None = None,
        before_insert: Callable[[], None] = _no_check,
    ) -> InsertOutcome:
        """Validate, de-duplicate, insert.

        `in_doubt`: an insert under this token was tried before. Rows that Silver holds under the token then count as
        new, so that the same block is made again and the server completes it. `prepared`: the result of `prepare` for
        these messages; they are validated again if the rules have changed since. `before_insert` runs before every
        request and may raise.

        Raises:
            WorkerStoppedError: the worker stops. Nothing is acknowledged and the call can be repeated.
        """
        if self._retry.stop.is_set():
            raise WorkerStoppedError("the worker stopped between two inserts")
        now = datetime.now(UTC)
        rules = self._rules.rules_for(token)
        validated = prepared
        if validated is None or validated.rules_version != rules.version:
            validated = validate(messages, self._topic, rules, now)
        not_routed = self._route(with_insert_columns(validated.valid, token, now), messages, rules)
        self._dead_letters.write(validated.rejects, messages, now, rules.version)
        overruled_rows = self._overruled(not_routed, now)
        valid = _without(not_routed, overruled_rows)
        started = time.perf_counter()
        split = self._insert(valid, token, seen, now, in_doubt, before_insert)
        insert_seconds = time.perf_counter() - started
        visible_us = time.time_ns() // 1000
        known = self._settle(split, overruled_rows, messages, token, now, rules.version, before_insert)
        seen.add(split.fresh_trades())
        seen.trim()
        return InsertOutcome(
            rows=validated.valid.num_rows + validated.rejects.num_rows,
            fresh=split.fresh.num_rows,
            duplicates=known.duplicates,
            reasons=dict(Counter(validated.rejects["reason"].to_pylist()) + known.reasons),
            insert_seconds=insert_seconds,
            latencies=latencies(split.fresh, visible_us),
            routed=validated.valid.num_rows - not_routed.num_rows,
            not_compared=known.not_compared,
        )

    def _insert(
        self,
        valid: pa.Table,
        token: str,
        seen: SeenTrades,
        now: datetime,
        in_doubt: bool,
        before_insert: Callable[[], None],
    ) -> Split:
        """Insert the new trades among the valid rows. After a re-derivation the rows are split again."""
        trades = by_market(valid)
        while True:
            split = self._split(valid, trades, seen, now, token if in_doubt else "")
            if not split.fresh.num_rows:
                return split
            in_doubt = True
            try:
                check = self._rederivations.before_request(before_insert)
                self._clickhouse.insert("silver_trades", split.fresh, token, check)
                return split
            except SilverPausedError:
                if self._retry.stop.wait(_PAUSE_POLL_SECONDS):
                    raise WorkerStoppedError("the worker stopped while a day of Silver was being replaced") from None

    def _split(
        self, valid: pa.Table, trades: list[MarketTrades], seen: SeenTrades, now: datetime, excluded_token: str
    ) -> Split:
        """Split the rows into new trades and others. Trades that Silver holds under `excluded_token` count as new."""
        self._rederivations.follow(seen, valid, now)
        unknown = seen.unknown(trades)
        if unknown:
            self._held.load(unknown, seen.load, excluded_token)
        return seen.split(valid, trades, excluded_token)

    def _settle(
        self,
        split: Split,
        overruled_rows: pl.DataFrame,
        messages: Sequence[Message],
        token: str,
        now: datetime,
        rules_version: str,
        before_insert: Callable[[], None],
    ) -> _Known:
        """Handle the rows that are no new trades.

        Rows that contradict Silver or a correction, and trades that are known in part, become dead letters. The others
        are inserted as duplicates.
        """
        repeats = split.duplicates
        if not (repeats.num_rows or split.partly_known.num_rows or overruled_rows.height):
            return _Known()
        held = self._held.versions(repeats) if repeats.num_rows else HELD.to_frame()
        compared = compare(pl.DataFrame(repeats), held)
        contradicts = contradicting(compared).with_columns(reason=pl.lit(Reason.TRADE_CONTRADICTS.value))
        partly = partly_known(pl.DataFrame(split.partly_known), split.known_matches)
        verdicts = pl.concat([overruled_rows, contradicts, partly], how="diagonal")
        if verdicts.height:
            bronze = pl.DataFrame(pa.concat_tables([message.rows for message in messages]))
            self._dead_letters.write(refuse(bronze, verdicts).to_arrow(), messages, now, rules_version)
        # A raw message that is delivered again is no duplicate: it is the message of the Silver row.
        is_duplicate = ~compared["is_message"] & (compared["field"] == "")
        if is_duplicate.any():
            duplicates = duplicate_rows(repeats.filter(is_duplicate.to_arrow()), now)
            self._clickhouse.insert("duplicate_trades", duplicates, token, before_insert)
        not_compared = int((~compared["is_known"]).sum())
        if not_compared:
            _log.warning("duplicates not compared: their trades have left Silver", token=token, count=not_compared)
        return _Known(repeats.num_rows - contradicts.height, Counter(verdicts["reason"].to_list()), not_compared)

    def _overruled(self, valid: pa.Table, now: datetime) -> pl.DataFrame:
        """The rows that a correction overrules (see `silver_processor.core.versions.overruled`).

        Only days that are over have corrections, so a batch of live trades needs no query. Rows that Silver holds are
        left out: a re-derivation removes them.
        """
        older = pl.DataFrame(valid.filter(pc.less_equal(valid["timestamp"], pa.scalar(now - LIVE, _MOMENT))))
        if not older.height:
            return NONE_OVERRULED
        markets = self._held.corrected_markets(older["exchange"].unique().sort().to_list())
        corrected = pl.DataFrame(markets, schema={"exchange": pl.String, "symbol": pl.String}, orient="row")
        older = older.join(corrected, on=["exchange", "symbol"], how="semi")
        if not older.height:
            return NONE_OVERRULED
        differing = overruled(compare(older, self._held.corrections(older.to_arrow())))
        if not differing.height:
            return differing
        suspects = older.join(differing, on=COORDINATES, how="semi")
        held = compare(suspects, self._held.versions(suspects.to_arrow())).filter("is_message")
        return differing.join(held, on=COORDINATES, how="anti")

    def _route(self, valid: pa.Table, messages: Sequence[Message], rules: Rules) -> pa.Table:
        """The rows that belong to this partition. The others are durable in their own when this returns."""
        if self._routing is None:
            return valid
        is_elsewhere = self._routing.is_elsewhere(valid, messages[0].partition, rules)
        if not is_elsewhere.any():
            return valid
        self._routing.forward(valid.filter(pa.array(is_elsewhere)), messages, rules)
        return valid.filter(pa.array(~is_elsewhere))
