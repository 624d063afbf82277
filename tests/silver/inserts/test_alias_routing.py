"""Two names of one market: one worker owns it, whichever Bronze shards the names are hashed to.

The whole way, over two workers, is in `silver/test_worker.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import yaml

from config.registry import SymbolRegistry
from silver_processor.batching.batch import Message, decode_message, validate
from silver_processor.core.rules import Rules
from silver_processor.group.shards import partition_of, shards_for
from silver_processor.inserts.alias_routing import AliasRouting
from silver_processor.inserts.producer import OutgoingMessage
from silver_processor.inserts.rulebook import RuleBook
from tests.silver.bronze import DOCUMENT, MARKET, MOMENT, bronze
from tests.silver.inserts.test_rules_reload import Kept, Symbols

ALIASED = {**DOCUMENT, "exchanges": {**DOCUMENT["exchanges"], "kraken": {"BTC/USD": MARKET}}}
RULES = Rules.of(SymbolRegistry.of(ALIASED))
SHARDS = 4


class Sharding:
    """Every first name is of shard 2."""

    def shards_of(self, names: Sequence[tuple[str, str]], shards: int) -> list[int]:
        assert shards == SHARDS
        assert {name for _, name in names} == {"BTC/USD"}
        return [2] * len(names)


@dataclass
class Outbox:
    sent: list[OutgoingMessage] = field(default_factory=list)

    def partitions(self, _topic: str) -> int:
        return 3

    def send(self, _topic: str, messages: Sequence[OutgoingMessage]) -> None:
        self.sent += messages


def test_rows_under_an_alias_are_forwarded_unchanged() -> None:
    names = ["XBT/USD", "BTC/USD", "BTC/USD", "XBT0/USD", "XBT/USD"]
    rows = bronze([{"exchange": "kraken", "symbol": name, "trade_id": str(n)} for n, name in enumerate(names)])
    target = partition_of(2, 3)
    message = Message((target + 1) % 3, 0, 0, rows)
    validated = validate([message], "bronze", RULES, MOMENT)
    outbox = Outbox()
    routing = AliasRouting("bronze", SHARDS, Sharding(), outbox)
    elsewhere = routing.is_elsewhere(validated.valid, message.partition, RULES)
    assert elsewhere.tolist() == [True, False, False, True, True]
    routing.forward(validated.valid.filter(pa.array(elsewhere)), [message], RULES)
    (sent,) = outbox.sent
    assert (sent.key, sent.partition) == (b"2", target)
    arrived = decode_message(target, 9, 0, sent.value)
    assert arrived.fault == ""
    assert arrived.rows.equals(rows.filter(pa.array(elsewhere))), "the target's worker reads the very rows"
    again = validate([arrived], "bronze", RULES, MOMENT).valid
    assert not routing.is_elsewhere(again, target, RULES).any(), "and keeps them"
    assert not AliasRouting("bronze", 1, Sharding(), outbox).is_elsewhere(validated.valid, 0, RULES).any(), (
        "with one shard every row is in place"
    )


def test_a_reload_that_moves_a_market_is_refused_while_workers_share_the_shards(tmp_path: Path) -> None:
    """With one shard it is loaded: there is no other partition."""
    file, broken = Symbols(tmp_path / "symbols.yaml"), list[bool]()
    file.write_text(yaml.safe_dump(ALIASED))
    many = RuleBook(file.path, Kept(), broken.append, clock=lambda: file.now, shards=SHARDS)
    one = RuleBook(file.path, Kept(), clock=lambda: file.now)
    swapped = {**MARKET, "aliases": ["BTC/USD"]}
    document = {**ALIASED, "exchanges": {**ALIASED["exchanges"], "kraken": {"XBT/USD": swapped}}}
    after = file.write_text(yaml.safe_dump(document))
    before = many.current.version
    many.refresh()
    one.refresh()
    assert (many.current.version, broken) == (before, [True])
    assert one.current.version == after
    more = {**MARKET, "aliases": [*MARKET["aliases"], "NEW/USD"]}
    file.write_text(yaml.safe_dump({**ALIASED, "exchanges": {"kraken": {"BTC/USD": more}}}))
    many.refresh()
    assert broken == [True, False], "another alias moves nothing"


def test_so_many_shards_give_so_many_workers_work_and_no_fewer() -> None:
    """As deploy/compose/README.md says for its four partitions."""
    assert [shards_for(workers, 4) for workers in (1, 2, 3, 4, 5)] == [1, 2, 5, 6, 6]
    for workers in range(1, 17):
        shards = shards_for(workers, 16)
        assert len({partition_of(shard, 16) for shard in range(shards)}) == workers
        assert len({partition_of(shard, 16) for shard in range(shards - 1)}) == workers - 1
