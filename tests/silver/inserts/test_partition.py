"""A worker that dies at any moment, over and over: every trade is in Silver and in Gold exactly once."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import zip_longest
from types import SimpleNamespace
from typing import Any, ClassVar

import fastavro
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.registry import SymbolRegistry
from schemas.records import SILVER, BronzeTrade
from schemas.wire import avro_schema
from silver_processor.batching.batch import Message, Validated, decode_message
from silver_processor.batching.ranges import OffsetRange
from silver_processor.core.rules import Rules
from silver_processor.core.versions import HELD, IDENTITY, versions_of
from silver_processor.inserts.dead_letters import Coordinates, DeadLetterWriter, Payload
from silver_processor.inserts.intent import FENCE_S, GroupPosition
from silver_processor.inserts.partition import Partition, WorkerThreads
from silver_processor.inserts.writer import InsertOutcome, SilverWriter
from silver_processor.retry import RetryPolicy
from silver_processor.seen.by_market import Market
from silver_processor.seen.held_trades import Learn
from silver_processor.seen.index import SeenTrades
from tests.silver.bronze import DOCUMENT, RULES, TRADE

AVRO = fastavro.parse_schema(avro_schema(BronzeTrade))
TOPIC = "market.crypto.trades.bronze"


class Unchanging:
    """A rule book with one version."""

    current = RULES

    def rules_for(self, _token: str) -> Rules:
        return RULES


class KilledError(BaseException):
    """The process is gone at this point."""


@dataclass
class Fate:
    """Counts the points at which a process could die, and kills it at the chosen one."""

    left: int

    def point(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KilledError


@dataclass
class Server:
    """ClickHouse: de-duplicates by token and table, Silver before Gold, and is not atomic over the two."""

    silver: dict[str, pa.Table] = field(default_factory=dict)
    gold: dict[str, int] = field(default_factory=dict)
    duplicates: list[int] = field(default_factory=list)
    accepted: dict[tuple[str, str, str], pl.DataFrame] = field(default_factory=dict)
    fate: Fate = field(default_factory=lambda: Fate(10**9))

    def rederivations(self) -> dict[str, int]:
        return {}

    def insert(self, table: str, rows: pa.Table, token: str, before_request: Callable[[], None]) -> None:
        self.fate.point()
        before_request()
        if table == "duplicate_trades":
            self.duplicates += rows["raw_offset"].to_pylist()
            return
        if token not in self.silver:
            self.silver[token] = rows
        else:
            assert rows.num_rows == self.silver[token].num_rows, "a retried insert is the same block again"
        self.fate.point()
        self.gold.setdefault(token, rows.num_rows)
        self.fate.point()

    @property
    def rows(self) -> pa.Table:
        return pa.concat_tables(self.silver.values()) if self.silver else SILVER.empty_table()

    def load(self, markets: Sequence[Market], learn: Learn, excluded_token: str = "") -> None:
        tables = [table for token, table in self.silver.items() if token != excluded_token]
        learn(
            markets,
            (
                t.filter(pa.array([pair in markets for pair in zip(*_pairs(t), strict=True)], pa.bool_()))
                for t in tables
            ),
            None,
        )

    def versions(self, rows: pa.Table) -> pl.DataFrame:
        asked = pl.DataFrame(rows.select(IDENTITY)).unique()
        return pl.DataFrame(self.rows).select(HELD.names()).join(asked, on=IDENTITY, how="semi")

    def corrected_markets(self, _exchanges: Sequence[str]) -> list[Market]:
        return sorted({(exchange, symbol) for exchange, symbol, _ in self.accepted})

    def corrections(self, rows: pa.Table) -> pl.DataFrame:
        asked = pl.DataFrame(rows.select(IDENTITY)).unique()
        return pl.concat([HELD.to_frame(), *self.accepted.values()]).join(asked, on=IDENTITY, how="semi")

    def payloads(self, _rejects: pa.Table) -> dict[Coordinates, Payload]:
        return {}


def _pairs(table: pa.Table) -> tuple[list[str], list[str]]:
    return table["exchange"].to_pylist(), table["symbol"].to_pylist()


@dataclass
class DeadLetters:
    """The dead-letter topic."""

    sent: list[tuple[int, str]] = field(default_factory=list)

    def send(self, dead_letters: list[dict[str, Any]]) -> None:
        self.sent += [(dead_letter["raw_offset"], dead_letter["reason"]) for dead_letter in dead_letters]


@dataclass
class Group:
    """The consumer group: survives the workers."""

    fate: Fate = field(default_factory=lambda: Fate(10**9))
    committed: int = -1
    recorded: OffsetRange | None = None

    async def position(self, _partition: int) -> GroupPosition | None:
        return GroupPosition(self.committed, self.recorded, 1)

    async def record(self, _partition: int, planned: OffsetRange, _generation: int) -> bool:
        self.fate.point()
        self.committed, self.recorded = planned.first, planned
        self.fate.point()
        return True


def message(trades: list[tuple[str, str]], offset: int, first: int) -> Any:
    rows = [
        TRADE | {"trade_id": trade_id, "side": side, "raw_offset": first + place}
        for place, (trade_id, side) in enumerate(trades)
    ]
    body = io.BytesIO()
    fastavro.writer(body, AVRO, rows, codec="deflate")
    return SimpleNamespace(offset=offset, timestamp=1_723_161_255.342 + offset, value=body.getvalue())


class Inline(Executor):
    """Runs at once: tasks interleave at their awaits only, so that a run can be repeated."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001 - belongs to whoever waits
            future.set_exception(error)
        return future


def never(_rows: pa.Table, _token: str) -> pa.Table:
    return np.empty(0, np.bool_)


def silver_writer(
    rules: Any, server: Server, dead_letters: DeadLetters, stop: Any, kind: type[SilverWriter] = SilverWriter
) -> SilverWriter:
    """The writer over the simulated server and dead-letter topic."""
    retry = RetryPolicy(stop)
    sender = DeadLetterWriter(TOPIC, server, dead_letters, retry)  # type: ignore[arg-type]
    return kind(TOPIC, rules, server, server, sender, retry)  # type: ignore[arg-type]


async def run(
    messages: list[Any], steps: list[int], group: Group, server: Server, dead_letters: DeadLetters, merge_rows: int
) -> None:
    """One life of a worker: messages arrive while inserts go on, with `steps` turns of the loop before each one."""
    threads = WorkerThreads(Inline(), Inline())
    writer = silver_writer(Unchanging(), server, dead_letters, SimpleNamespace(is_set=lambda: False))
    acknowledged: list[int] = []
    dropped: list[int] = []

    def commit(event: Any) -> None:
        group.fate.point()
        acknowledged.append(event.message.offset)
        group.committed, group.recorded = event.message.offset + 1, None

    partition = Partition(
        topic=TOPIC,
        number=0,
        seen=SeenTrades(never),
        intents=group,
        writer=writer,
        merge_rows=merge_rows,
        threads=threads,
        acknowledge=commit,
        drop=lambda event: dropped.append(event.message.offset),
        observe=lambda *_: None,
        clock=lambda: 0.0,
    )
    left = [m for m in messages if m.offset >= group.committed]
    done = asyncio.Event()

    async def arrive() -> None:
        for part, turns in zip_longest(left, steps[: len(left)], fillvalue=0):
            for _ in range(turns):
                await asyncio.sleep(0)
            await partition.take(SimpleNamespace(message=part))
        done.set()

    async def insert() -> None:
        while not (done.is_set() and not partition.can_insert):
            await partition.insert_next()
            await asyncio.sleep(0)

    await asyncio.gather(arrive(), insert())
    assert acknowledged == sorted(acknowledged)
    # A rebalance waits for every event that was taken.
    assert sorted(acknowledged + dropped) == sorted(m.offset for m in left)
    assert len(set(acknowledged)) == len(acknowledged)
    assert not partition.waiting_rows


TRADES = st.lists(
    st.tuples(st.integers(0, 30).map(str), st.sampled_from(["BUY", "BUY", "SELL", "?"])), min_size=1, max_size=6
)
LIVES = st.lists(st.tuples(st.integers(0, 25), st.lists(st.integers(0, 9), max_size=8), st.integers(1, 20)), max_size=6)


@given(st.lists(TRADES, min_size=1, max_size=8), LIVES)
def test_effectively_once_whenever_the_worker_dies(
    contents: list[list[tuple[str, str]]], lives: list[tuple[int, list[int], int]]
) -> None:
    """Invariants 1 and 2. Every life has its own merge limit and arrival pattern, so plans differ unless recorded."""
    starts = [sum(len(part) for part in contents[:place]) for place in range(len(contents))]
    messages = [message(part, place, first) for place, (part, first) in enumerate(zip(contents, starts, strict=True))]
    group, server, dead_letters = Group(), Server(), DeadLetters()
    for deaths, steps, merge_rows in lives:
        group.fate = server.fate = Fate(deaths)
        try:
            asyncio.run(run(messages, steps, group, server, dead_letters, merge_rows))
        except KilledError:
            continue
    group.fate = server.fate = Fate(10**9)
    asyncio.run(run(messages, [], group, server, dead_letters, 1000))

    trades = [(offset, *trade) for offset, trade in enumerate(trade for part in contents for trade in part)]
    valid = [(offset, trade_id, side) for offset, trade_id, side in trades if side != "?"]
    stored = server.rows
    assert sorted(stored["trade_id"].to_pylist()) == sorted({trade_id for _, trade_id, _ in valid})
    assert server.gold == {token: rows.num_rows for token, rows in server.silver.items()}
    kept = set(stored["raw_offset"].to_pylist())
    says = dict(zip(stored["trade_id"].to_pylist(), stored["side"].to_pylist(), strict=True))
    assert set(server.duplicates) == {offset for offset, trade_id, side in valid if side == says[trade_id]} - kept
    assert set(dead_letters.sent) == {(offset, "side_invalid") for offset, _, side in trades if side == "?"} | {
        (offset, "trade_contradicts") for offset, trade_id, side in valid if side != says[trade_id]
    }
    assert group.committed == len(messages)


def test_a_group_that_was_reset_to_the_start_changes_nothing() -> None:
    """Replaying the whole topic under other boundaries: no row twice, no redelivered row counted as a duplicate."""
    trades = [("1", "BUY"), ("2", "BUY")], [("2", "SELL"), ("3", "BUY"), ("2", "BUY")]
    messages = [message(trades[0], 0, 0), message(trades[1], 1, 2)]
    group, server, dead_letters = Group(), Server(), DeadLetters()
    asyncio.run(run(messages, [], group, server, dead_letters, 1))
    group.committed = -1
    asyncio.run(run(messages, [], group, server, dead_letters, 1000))
    assert sorted(server.rows["trade_id"].to_pylist()) == ["1", "2", "3"]
    assert sum(server.gold.values()) == 3
    assert set(server.duplicates) == {4}
    assert dead_letters.sent == [(2, "trade_contradicts")] * 2


def test_of_two_versions_in_one_batch_the_accepted_one_is_the_trade() -> None:
    """And a version that Silver still has stays in one place until the re-derivation takes it out."""
    messages = [message([("1", "BUY"), ("1", "SELL"), ("2", "BUY")], 0, 0), message([("1", "SELL")], 1, 3)]
    group, server, dead_letters = Group(), Server(), DeadLetters()
    asyncio.run(run(messages[:1], [], group, server, dead_letters, 1000))
    first = pl.DataFrame(server.rows).filter(pl.col("trade_id") == "1")
    assert (first["side"].to_list(), dead_letters.sent) == (["BUY"], [(1, "trade_contradicts")])
    accepted = versions_of(first).with_columns(side=pl.lit("SELL"), raw_offset=pl.lit(1, pl.UInt64))
    server.accepted[("binance", "BTCUSDT", "1")] = accepted
    group.committed = -1
    asyncio.run(run(messages[:1], [], group, server, dead_letters, 1000))
    assert dead_letters.sent[1:] == [(1, "trade_contradicts")]
    # Nothing is left of it: as after a loss, the trades come again and are validated by what was accepted.
    group, again, dead_letters = Group(), Server(accepted=server.accepted), DeadLetters()
    asyncio.run(run(messages, [], group, again, dead_letters, 1000))
    rows = pl.DataFrame(again.rows).sort("trade_id").select("trade_id", "side", "raw_offset").rows()
    assert rows == [("1", "SELL", 1), ("2", "BUY", 2)]
    assert dead_letters.sent == [(0, "trade_superseded")]
    assert again.duplicates == [3]


def test_a_message_that_comes_twice_is_waited_for_once() -> None:
    group, server, dead_letters = Group(), Server(), DeadLetters()
    twice = [message([("1", "BUY")], 0, 0)] * 2
    asyncio.run(run(twice, [], group, server, dead_letters, 10))
    assert server.rows["trade_id"].to_pylist() == ["1"]
    assert group.committed == 1


def test_a_worker_that_lost_its_partition_does_not_insert() -> None:
    server, dead_letters = Server(), DeadLetters()

    class Fenced(Group):
        async def record(self, _partition: int, _planned: OffsetRange, _generation: int) -> bool:
            return False

    group = Fenced()
    asyncio.run(run([message([("1", "BUY")], 0, 0)], [], group, server, dead_letters, 10))
    assert server.rows.num_rows == 0
    assert group.committed == -1


@pytest.mark.parametrize("still_ours", [True, False])
def test_a_worker_that_stood_still_inserts_only_if_the_group_still_knows_it(
    still_ours: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frozen between record and insert for longer than the server may remember the token."""
    now = [0.0]
    monkeypatch.setattr("silver_processor.inserts.intent.InsertFence.__init__.__defaults__", (lambda: now[0],))

    class Freezing(Server):
        attempts = 0

        def insert(self, table: str, rows: pa.Table, token: str, before_request: Callable[[], None]) -> None:
            Freezing.attempts += 1
            if Freezing.attempts == 1:
                now[0] += 2 * FENCE_S
            super().insert(table, rows, token, before_request)

    class Recording(Group):
        records: ClassVar[list[OffsetRange]] = []

        async def record(self, partition: int, planned: OffsetRange, generation: int) -> bool:
            Recording.records.append(planned)
            if len(Recording.records) > 1 and not still_ours:
                return False
            return await super().record(partition, planned, generation)

    Recording.records.clear()
    server, group = Freezing(), Recording()
    asyncio.run(run([message([("1", "BUY"), ("2", "BUY")], 0, 0)], [], group, server, DeadLetters(), 10))
    assert Recording.records == [OffsetRange(0, 0, Recording.records[0].first_published_ms)] * 2
    assert server.rows.num_rows == (2 if still_ours else 0)
    assert group.committed == (1 if still_ours else 0)


def test_the_next_batch_is_decoded_and_validated_while_the_one_before_is_inserted() -> None:
    """The insert of the first batch ends only after the second one was validated."""
    server, group = Server(), Group()
    validated_ahead = threading.Event()
    seen_ahead: list[bool] = []

    class Slow(SilverWriter):
        def prepare(self, messages: Sequence[Message]) -> Validated:
            validated = super().prepare(messages)
            validated_ahead.set()
            return validated

        def write(
            self,
            messages: Sequence[Message],
            token: str,
            seen: SeenTrades,
            in_doubt: bool,
            prepared: Validated | None = None,
            before_insert: Callable[[], None] = lambda: None,
        ) -> InsertOutcome:
            assert validated_ahead.wait(30), "nothing was validated during the insert"
            seen_ahead.append(prepared is not None)
            return super().write(messages, token, seen, in_doubt, prepared, before_insert)

    async def scenario() -> None:
        with ThreadPoolExecutor(1) as decode, ThreadPoolExecutor(1) as insert:
            partition = Partition(
                topic=TOPIC,
                number=0,
                seen=SeenTrades(never),
                intents=group,
                writer=silver_writer(Unchanging(), server, DeadLetters(), threading.Event(), Slow),
                merge_rows=2,
                threads=WorkerThreads(decode, insert),
                acknowledge=lambda _: None,
                drop=lambda _: None,
                observe=lambda *_: None,
                clock=lambda: 0.0,
            )
            parts = [message([(str(2 * n), "BUY"), (str(2 * n + 1), "BUY")], n, 2 * n) for n in range(3)]
            await partition.take(SimpleNamespace(message=parts[0]))
            first = asyncio.create_task(partition.insert_next())
            await asyncio.sleep(0)
            for part in parts[1:]:
                await partition.take(SimpleNamespace(message=part))
            await first
            while partition.can_insert:
                await partition.insert_next()

    asyncio.run(scenario())
    assert seen_ahead == [False, True, False], "the second batch was full, and validated ahead; the third was not"
    assert server.rows.num_rows == 6


def test_rules_that_change_after_a_batch_was_validated_ahead_validate_it_again() -> None:
    """The rules pinned when the range is recorded decide, not those of the moment it was decoded."""
    other = Rules.of(SymbolRegistry.of(DOCUMENT | {"version": 9}))
    server, book = Server(), SimpleNamespace(current=RULES, rules_for=lambda _: other)
    writer = silver_writer(book, server, DeadLetters(), threading.Event())
    batch = [decode_message(0, 0, 0, message([("1", "BUY")], 0, 0).value)]
    prepared = writer.prepare(batch)
    assert prepared.rules_version == RULES.version
    writer.write(batch, "token", SeenTrades(never), in_doubt=False, prepared=prepared)
    assert server.rows["rules_version"].to_pylist() == [other.version]
