"""Invariant: what commands print of hot and cold tables is what the trades say, and long ones say where they are."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from cli.common.arguments import UnknownNameError
from cli.dlq import commands as dlq
from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.pins import PinError, Pins
from offload.proof.verify import verify
from offload.retention.gate import close_gate
from offload.run import run
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import TABLES
from tests.offload.hot_tables import HotTables, of_one_hour, read_tape, silver_rows
from tests.offload.retention.test_gate import LATER


def test_proof_and_gate_say_where_they_are(settings: Settings, hot: HotTables, tape: Path) -> None:
    hot.insert("silver_trades", silver_rows(of_one_hour(read_tape(tape).head(100))))
    run(Tiers.open(settings), until_now=True, layers=("silver",))
    for work in (verify, close_gate):
        seen: list[tuple[str, int, int]] = []
        work(Tiers.open(settings), progress=lambda *step, seen=seen: seen.append(step))  # type: ignore[operator]
        numbers = [number for _, number, _ in seen]
        assert numbers == sorted(numbers)
        assert {total for *_, total in seen} == {len(TABLES)} or work is close_gate
        assert any("silver_trades" in name for name, _, _ in seen)


def test_a_name_that_nobody_knows_is_an_error_unless_a_dead_letter_has_it(
    settings: Settings, hot: HotTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dlq, "load_settings", lambda _: settings)
    for command in (dlq.list_records, dlq.stats):
        with pytest.raises(UnknownNameError, match="No exchange 'mtgox'"):
            command(exchange="mtgox")
        with pytest.raises(UnknownNameError, match="No symbol 'ODDUSDT' of binance"):
            command(exchange="binance", symbol="ODDUSDT")
    dead_letter = {
        "exchange": "mtgox",
        "symbol": "ODDUSDT",
        "trade_id": "7",
        "reason": "exchange_unknown",
        "raw_topic": "x",
    }
    hot.insert("dlq_trades_log", pl.DataFrame([dead_letter]))
    for command in (dlq.list_records, dlq.stats):
        command(exchange="mtgox", symbol="ODDUSDT")
        command(exchange="binance", symbol="BTCUSDT")
    dlq.list_records(trade_id="7")
    # It is there, and open.
    dlq.list_records(trade_id="7", resolved=True)
    with pytest.raises(dlq.UnknownTradeError, match=r"is of trade '8': `medallion lineage trace --trade-id`"):
        dlq.list_records(trade_id="8")


def test_a_pin_of_the_future_is_refused(settings: Settings, hot: HotTables) -> None:
    with pytest.raises(PinError, match=r"2250-01-01T00:00:00Z is in the future \(UTC\)"):
        Pins(ColdTier.open(settings)).create(
            "late", LATER.replace(year=2250, month=1, day=1, hour=0, minute=0, second=0)
        )
