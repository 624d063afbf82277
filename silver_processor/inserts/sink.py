"""One insert's worth of Bronze messages made durable: Silver, duplicates, dead letters."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import structlog

from schemas.reasons import Reason
from silver_processor.batching.batch import Judged, Message, duplicates, judge, stamp
from silver_processor.core.latency import Latency, latencies
from silver_processor.core.refine import PLACE, partly_known, refuse
from silver_processor.core.rules import Rules
from silver_processor.core.versions import HELD, compare, contradicting
from silver_processor.inserts.aliases import Homes
from silver_processor.inserts.dead_letters import DeadLetterQueue, records, summary
from silver_processor.inserts.rulebook import RuleBook
from silver_processor.inserts.store import PAYLOAD_BYTES, Coordinates, Payload, Store
from silver_processor.retry import Patience, StoppedError
from silver_processor.seen.corrections import overruled_rows
from silver_processor.seen.index import SeenTrades, Split
from silver_processor.seen.paused import PausedError
from silver_processor.seen.rederived import Rederived

PROCESSOR_VERSION = version("medallion")
# A raw message can reach Bronze a moment before trades_raw shows it.
_RAW_LAG_SECONDS = 2.0
_RAW_POLL_SECONDS = 0.05
_PAUSE_POLL_SECONDS = 0.2
# Of an insert; the counter of rejects by reason has all of them.
_LOGGED_GROUPS = 5
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of the rows of one insert (`rows` = `fresh` + `again` + rejects +
    `sent_home`), and how long Silver took (s).

    `latencies` are those of the fresh rows, up to the moment Silver and Gold showed them. `not_compared` of the
    duplicates are of trades whose row has left Silver, so that nobody knows whether they say the same.
    """

    rows: int
    fresh: int
    again: int
    reasons: dict[str, int]
    insert_seconds: float
    latencies: list[Latency] = field(default_factory=list)
    sent_home: int = 0
    not_compared: int = 0


@dataclass(frozen=True, slots=True)
class _Unfresh:
    """What became of valid rows that are no new trades: duplicates, and dead letters by reason."""

    repeats: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    not_compared: int = 0


def _nothing() -> None:
    """Nothing to check before an insert."""


def _without(rows: pa.Table, others: pl.DataFrame) -> pa.Table:
    """The rows (columns `PLACE`) of other messages than these."""
    if not others.height:
        return rows
    place = pl.DataFrame(rows.select(PLACE)).with_row_index("row")
    return rows.take(place.join(others, on=PLACE, how="anti", maintain_order="left")["row"].to_arrow())


class Sink:
    """Writes inserts one after the other; a call returns when everything is durable, or raises."""

    def __init__(
        self,
        topic: str,
        rules: RuleBook,
        store: Store,
        letters: DeadLetterQueue,
        patience: Patience,
        homes: Homes | None = None,
    ) -> None:
        self._topic = topic
        self._rules = rules
        self._store = store
        self._letters = letters
        self._patience = patience
        self._homes = homes
        self._rederived = Rederived(store.rederived)

    def prepare(self, messages: Sequence[Message]) -> Judged:
        """Judge messages ahead of their insert, by today's rules; touches neither index nor servers."""
        return judge(messages, self._topic, self._rules.current, datetime.now(UTC))

    def write(
        self,
        messages: Sequence[Message],
        token: str,
        seen: SeenTrades,
        in_doubt: bool,
        prepared: Judged | None = None,
        before_insert: Callable[[], None] = _nothing,
    ) -> Outcome:
        """Judge, de-duplicate, insert.

        `in_doubt`: the same token was tried before, so rows under it are not counted as seen: the same block is made
        again and the server completes it. `prepared`: what `prepare` made of these messages; judged again if the rules
        have changed since. `before_insert` runs before every request to insert, and may raise.

        Raises:
            StoppedError: the worker stops; nothing is acknowledged, the call can be repeated.
        """
        if self._patience.stop.is_set():
            raise StoppedError("stopped between two inserts")
        now = datetime.now(UTC)
        rules = self._rules.judge_by(token)
        judged = prepared
        if judged is None or judged.rules_version != rules.version:
            judged = judge(messages, self._topic, rules, now)
        at_home = self._at_home(stamp(judged.valid, token, now), messages, rules)
        self._bury(judged.rejects, messages, now, rules.version)
        overruled = self._overruled(at_home, now)
        valid = _without(at_home, overruled)
        started = time.perf_counter()
        while True:
            split = self._split(valid, seen, now, token if in_doubt else "")
            fresh = split.fresh
            if not fresh.num_rows:
                break
            in_doubt = True
            try:
                self._store.insert("silver_trades", fresh, token, self._rederived.guard(before_insert))
                break
            except PausedError:
                if self._patience.stop.wait(_PAUSE_POLL_SECONDS):
                    raise StoppedError("stopped while a day of Silver was being replaced") from None
        insert_seconds = time.perf_counter() - started
        visible_us = time.time_ns() // 1000
        unfresh = self._settle(split, overruled, messages, token, now, rules.version, before_insert)
        seen.add(fresh)
        seen.trim()
        return Outcome(
            rows=judged.valid.num_rows + judged.rejects.num_rows,
            fresh=fresh.num_rows,
            again=unfresh.repeats,
            reasons=dict(Counter(judged.rejects["reason"].to_pylist()) + unfresh.reasons),
            insert_seconds=insert_seconds,
            latencies=latencies(fresh, visible_us),
            sent_home=judged.valid.num_rows - at_home.num_rows,
            not_compared=unfresh.not_compared,
        )

    def _settle(
        self,
        split: Split,
        overruled: pl.DataFrame,
        messages: Sequence[Message],
        token: str,
        now: datetime,
        rules_version: str,
        before_insert: Callable[[], None],
    ) -> _Unfresh:
        """Bury what contradicts Silver or a correction, or is known in part; count the other rows as duplicates."""
        again = split.again
        if not (again.num_rows or split.partly.num_rows or overruled.height):
            return _Unfresh()
        compared = compare(pl.DataFrame(again), self._store.versions(again) if again.num_rows else HELD.to_frame())
        contradicts = contradicting(compared).with_columns(reason=pl.lit(Reason.TRADE_CONTRADICTS.value))
        partly = partly_known(pl.DataFrame(split.partly), split.known)
        verdicts = pl.concat([overruled, contradicts, partly], how="diagonal")
        if verdicts.height:
            bronze = pl.DataFrame(pa.concat_tables([message.rows for message in messages]))
            self._bury(refuse(bronze, verdicts).to_arrow(), messages, now, rules_version)
        # The same raw message delivered again is no duplicate: it is the Silver row.
        is_repeat = ~compared["is_message"] & (compared["field"] == "")
        if is_repeat.any():
            repeats = again.filter(is_repeat.to_arrow())
            self._store.insert("duplicate_trades", duplicates(repeats, now), token, before_insert)
        not_compared = int((~compared["is_known"]).sum())
        if not_compared:
            _log.warning("duplicates not compared: their trades have left Silver", token=token, count=not_compared)
        return _Unfresh(again.num_rows - contradicts.height, Counter(verdicts["reason"].to_list()), not_compared)

    def _overruled(self, valid: pa.Table, now: datetime) -> pl.DataFrame:
        """Rows that a correction overrules; not those that Silver still has, until the re-derivation takes them out."""
        found = overruled_rows(self._store, valid, now)
        if not found.height:
            return found
        suspects = pl.DataFrame(valid).join(found, on=PLACE, how="semi")
        held = compare(suspects, self._store.versions(suspects.to_arrow())).filter("is_message")
        return found.join(held, on=PLACE, how="anti")

    def _at_home(self, valid: pa.Table, messages: Sequence[Message], rules: Rules) -> pa.Table:
        """The rows whose market is at home in this partition; the others are durable in theirs."""
        if self._homes is None:
            return valid
        strangers = self._homes.strangers(valid, messages[0].partition, rules)
        if not strangers.any():
            return valid
        self._homes.send_home(valid.filter(pa.array(strangers)), messages, rules)
        return valid.filter(pa.array(~strangers))

    def _split(self, valid: pa.Table, seen: SeenTrades, now: datetime, but_token: str) -> Split:
        """What is new, and what is not; what Silver holds under the token counts as fresh."""
        self._rederived.follow(seen, valid, now)
        unknown = seen.unknown(valid)
        if unknown:
            self._store.load(seen, unknown, but_token)
        return seen.split(valid, but_token)

    def _bury(self, rejects: pa.Table, messages: Sequence[Message], now: datetime, rules_version: str) -> None:
        if not rejects.num_rows:
            return
        payloads: dict[Coordinates, Payload] = {
            (self._topic, message.partition, message.offset, message.published_ms): Payload(
                message.unreadable[:PAYLOAD_BYTES], len(message.unreadable)
            )
            for message in messages
            if message.fault
        }
        raw = rejects.filter(pc.not_equal(rejects["raw_topic"], self._topic))
        if raw.num_rows:
            payloads |= self._raw_payloads(raw, now)
        self._letters.send(records(rejects, payloads, now, PROCESSOR_VERSION, rules_version))
        for group in summary(rejects, _LOGGED_GROUPS):
            _log.info("dead letters", **group)

    def _raw_payloads(self, rejects: pa.Table, now: datetime) -> dict[Coordinates, Payload]:
        wanted = pl.DataFrame(rejects).select("raw_topic", "raw_partition", "raw_offset", "published_at").n_unique()
        recent = (now - max(rejects["ingested_at"].to_pylist())).total_seconds() < _RAW_LAG_SECONDS
        ends = time.monotonic() + (_RAW_LAG_SECONDS if recent else 0)
        while True:
            payloads = self._store.payloads(rejects)
            if len(payloads) >= wanted or time.monotonic() >= ends or self._patience.stop.wait(_RAW_POLL_SECONDS):
                return payloads
