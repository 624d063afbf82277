"""The symbols file is taken over while the worker runs; each insert is validated by exactly one version."""

from __future__ import annotations

import asyncio
import copy
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

from config.registry import RegistryError, SymbolRegistry
from silver_processor.inserts.rulebook import SETTLE_SECONDS, RuleBook
from tests.silver.bronze import DOCUMENT
from tests.silver.stack import Stack, wait_until
from tests.silver.test_worker import BRONZE_TOPIC, message, trades


@dataclass
class Kept:
    """The archive: survives processes."""

    documents: dict[str, str] = field(default_factory=dict)

    def keep(self, version: str, document: str) -> None:
        self.documents[version] = document

    def document(self, version: str) -> str | None:
        return self.documents.get(version)


@dataclass
class Symbols:
    """A symbols file, and a clock that stands still until it is set."""

    path: Path
    now: float = 0.0

    def write(self, **markets: dict[str, str]) -> str:
        """Binance's markets as in the tests' registry and these; the version they make."""
        document = copy.deepcopy(DOCUMENT)
        document["exchanges"]["binance"] |= markets
        return self.write_text(yaml.safe_dump(document))

    def write_text(self, text: str) -> str:
        self.path.write_text(text)
        self.settle()
        try:
            return SymbolRegistry.load(self.path).rules_version
        except RegistryError:
            return ""

    def settle(self) -> None:
        self.now = self.path.stat().st_mtime + 2 * SETTLE_SECONDS


NEW = {"canonical": "NEWUSDT", "base": "NEW", "quote": "USDT"}
Open = Callable[[], RuleBook]


@pytest.fixture
def symbols(tmp_path: Path) -> Symbols:
    file = Symbols(tmp_path / "symbols.yaml")
    file.write()
    return file


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def broken() -> list[bool]:
    return []


@pytest.fixture
def open_book(symbols: Symbols, kept: Kept, broken: list[bool]) -> Open:
    """A worker process's rule book."""

    def start() -> RuleBook:
        book = RuleBook(symbols.path, kept, broken.append, clock=lambda: symbols.now)
        book.refresh()
        return book

    return start


def knows(book: RuleBook, token: str, symbol: str) -> bool:
    return symbol in book.rules_for(token).markets["exchange_symbol"].to_list()


def test_a_changed_file_is_in_force_from_the_next_pin_on(symbols: Symbols, open_book: Open, kept: Kept) -> None:
    book = open_book()
    before = book.pin("first")
    after = symbols.write(NEWUSDT=NEW)
    book.refresh()
    assert book.pin("second") == after != before
    assert not knows(book, "first", "NEWUSDT"), "an insert that was recorded before keeps its rules"
    assert knows(book, "second", "NEWUSDT")
    assert set(kept.documents) == {before, after}


def test_a_version_is_kept_before_it_is_used(symbols: Symbols, open_book: Open, kept: Kept) -> None:
    book = open_book()
    versions = [book.current.version]

    def keep(version: str, document: str) -> None:
        assert book.current.version == versions[-1] != version
        kept.documents[version] = document
        versions.append(version)

    kept.keep = keep  # type: ignore[method-assign]
    symbols.write(NEWUSDT=NEW)
    book.refresh()
    assert book.current.version == versions[-1]
    assert len(versions) == 2


@pytest.mark.parametrize("text", ["exchanges: [", "version: 1\nexchanges: {binance: {X: {}}}", "", "\x00"])
def test_a_broken_file_keeps_the_rules_and_is_reported_once(
    symbols: Symbols, open_book: Open, broken: list[bool], text: str
) -> None:
    book = open_book()
    before = book.current.version
    symbols.write_text(text)
    for _ in range(3):
        book.refresh()
    assert book.current.version == before
    assert broken == [True]
    mended = symbols.write(NEWUSDT=NEW)
    book.refresh()
    assert book.current.version == mended
    assert broken == [True, False]


def test_a_file_that_is_gone_keeps_the_rules(symbols: Symbols, open_book: Open, broken: list[bool]) -> None:
    book = open_book()
    before = book.current.version
    symbols.path.unlink()
    book.refresh()
    book.refresh()
    assert (book.current.version, broken) == (before, [True])
    symbols.write()
    book.refresh()
    assert (book.current.version, broken) == (before, [True, False])


def test_a_file_that_is_being_written_waits(symbols: Symbols, open_book: Open) -> None:
    """Half of a symbols file is often a valid one: every market it lacks would be rejected."""
    book = open_book()
    before = book.current.version
    after = symbols.write(NEWUSDT=NEW)
    symbols.now = symbols.path.stat().st_mtime + SETTLE_SECONDS / 2
    book.refresh()
    assert book.current.version == before
    symbols.settle()
    book.refresh()
    assert book.current.version == after


def test_a_replaced_file_of_the_same_size_and_time_is_seen(symbols: Symbols, open_book: Open) -> None:
    book = open_book()
    was = symbols.path.stat()
    other = symbols.path.with_suffix(".new")
    text = symbols.path.read_text()
    changed = text.replace("version: 3", "version: 4")
    assert len(changed) == len(text)
    other.write_text(changed)
    os.utime(other, ns=(was.st_atime_ns, was.st_mtime_ns))
    other.replace(symbols.path)
    book.refresh()
    assert book.current.version.startswith("4-")


def test_comments_and_order_are_no_new_version(symbols: Symbols, open_book: Open, kept: Kept) -> None:
    book = open_book()
    symbols.write_text("# a comment\n" + symbols.path.read_text())
    book.refresh()
    assert len(kept.documents) == 1


def test_another_process_validates_an_interrupted_insert_by_the_rules_it_began_with(
    symbols: Symbols, open_book: Open
) -> None:
    """Other rules would make another block under the same token, or a second place for a reject."""
    began = open_book().pin("token")
    symbols.write(NEWUSDT=NEW)
    successor = open_book()
    assert successor.current.version != began
    successor.recall("token", began)
    assert successor.rules_for("token").version == began
    assert not knows(successor, "unknown", "BTC-NOT-THERE")
    assert knows(successor, "next", "NEWUSDT")


def test_what_the_archive_gives_back_validates_alike(symbols: Symbols, open_book: Open, kept: Kept) -> None:
    book = open_book()
    version = book.current.version
    again = SymbolRegistry.of(yaml.safe_load(kept.documents[version]))
    assert again.rules_version == version
    assert again.lookup == SymbolRegistry.load(symbols.path).lookup


def test_lost_rules_do_not_stall_the_partition(open_book: Open) -> None:
    book = open_book()
    book.recall("token", "1-gone")
    assert book.rules_for("token") is book.current


def test_a_start_on_a_broken_file_is_refused(symbols: Symbols, kept: Kept) -> None:
    symbols.write_text("exchanges: [")
    with pytest.raises(RegistryError, match="not a valid YAML"):
        RuleBook(symbols.path, kept)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, applied: Path) -> Iterator[tuple[Stack, Symbols]]:
    """Broker and ClickHouse; workers started on it read the symbols file."""
    folder = tmp_path_factory.mktemp("reload")
    file = Symbols(folder / "symbols.yaml")
    with pytest.MonkeyPatch.context() as patch, Stack(folder, applied) as stack:
        patch.setenv("MEDALLION_SYMBOLS_FILE", str(file.path))
        yield stack, file


def versions(stack: Stack, table: str, symbol: str) -> list[tuple[str, int]]:
    return stack.select(
        f"SELECT rules_version, count() FROM medallion.{table} WHERE symbol = '{symbol}' GROUP BY ALL ORDER BY ALL"
    )


# Its siblings: the rule book's own tests above, and cli/dlq/test_dlq_replay.py, whose worker takes a market over.
@pytest.mark.nightly
def test_a_running_worker_takes_the_file_over(running: tuple[Stack, Symbols]) -> None:
    stack, symbols = running
    before = symbols.write()
    worker = stack.start_worker()
    worker.wait_ready()
    stack.publish(BRONZE_TOPIC, message(trades("NEWUSDT", 5)))
    wait_until(lambda: versions(stack, "dlq_trades", "NEWUSDT") == [(before, 5)])
    symbols.write_text("exchanges: [")
    wait_until(lambda: worker.metrics()["medallion_silver_rules_broken"] == 1)
    after = symbols.write(NEWUSDT=NEW)
    in_force = f'medallion_silver_rules{{version="{after}"}}'
    wait_until(lambda: worker.metrics().get(in_force) == 1)
    assert worker.metrics()["medallion_silver_rules_broken"] == 0
    stack.publish(BRONZE_TOPIC, message(trades("NEWUSDT", 7)))
    wait_until(lambda: versions(stack, "silver_trades", "NEWUSDT") == [(after, 7)])
    assert versions(stack, "dlq_trades", "NEWUSDT") == [(before, 5)]
    kept = dict(stack.select("SELECT rules_version, document FROM medallion.rules_versions"))
    assert {before, after} <= set(kept)
    assert SymbolRegistry.of(yaml.safe_load(kept[after])).rules_version == after
    assert worker.stop() == 0


@pytest.mark.nightly
def test_rules_that_change_between_a_crash_and_its_retry(running: tuple[Stack, Symbols]) -> None:
    """SIGKILL after the range was recorded and before anything was written; the successor finds other rules."""
    stack, symbols = running
    before = symbols.write()
    worker = stack.start_worker()
    worker.wait_ready()
    place = TopicPartition(BRONZE_TOPIC, 0)

    async def standing() -> tuple[int, str]:
        # Not confluent-kafka: it reads on behind the end of a commit's metadata.
        brokers = stack.settings.kafka_bootstrap_servers
        group, topic = AIOKafkaAdminClient(bootstrap_servers=brokers), AIOKafkaConsumer(bootstrap_servers=brokers)
        await group.start()
        await topic.start()
        try:
            found = (await group.list_consumer_group_offsets("silver", partitions=[place])).get(place)
            ends = await topic.end_offsets([place])
            return (ends[place] - found.offset, found.metadata) if found else (ends[place], "")
        finally:
            await topic.stop()
            await group.close()

    def stands() -> tuple[int, str]:
        """How many messages before the end the group stands, and what it recorded there."""
        return asyncio.run(standing())

    stack.publish(BRONZE_TOPIC, message(trades("BTCUSDT", 1)))
    wait_until(lambda: stands() == (0, ""))
    stack.stop_node()
    stack.publish(BRONZE_TOPIC, message([*trades("ETHUSDT", 5), *trades("LATEUSDT", 3)]))
    wait_until(lambda: stands()[0] == 1 and before in stands()[1])
    worker.kill()
    late = {"canonical": "LATEUSDT", "base": "LATE", "quote": "USDT"}
    after = symbols.write(LATEUSDT=late)
    stack.start_node()
    successor = stack.start_worker()
    successor.wait_ready()
    stack.publish(BRONZE_TOPIC, message([*trades("ETHUSDT", 2), *trades("LATEUSDT", 2)]))
    wait_until(lambda: versions(stack, "silver_trades", "ETHUSDT") == sorted([(before, 5), (after, 2)]))
    wait_until(lambda: versions(stack, "silver_trades", "LATEUSDT") == [(after, 2)])
    wait_until(lambda: versions(stack, "dlq_trades", "LATEUSDT") == [(before, 3)])
    assert successor.stop() == 0
