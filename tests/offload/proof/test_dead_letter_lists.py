"""What `medallion dlq list` and `show` find: by trade, by message, and the first rejection of what came through."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import polars as pl

from cli.common.statements import rows
from cli.dlq.commands import ALL
from tests.offload.hot_tables import COORDINATES, HotTables, dead_letter_rows, read_tape, silver_rows

ANY = {**ALL, "reason": "", "trade_id": "", "limit": 100}
ANY_MESSAGE = {**ANY, "topic": "", "partition": 0, "offset": 0}


def test_a_resolved_message_is_listed_once_with_its_first_rejection(hot: HotTables, tape: Path) -> None:
    """Of three messages the second was rejected twice, for two reasons, and the third is still open."""
    trades = read_tape(tape).head(3)
    first = dead_letter_rows(trades, "symbol_unmapped")
    again = dead_letter_rows(trades.slice(1, 1), "price_above_limit").with_columns(
        pl.col("rejected_at") + timedelta(hours=1)
    )
    hot.insert("dlq_trades_log", again)
    hot.insert("dlq_trades_log", first)
    through = silver_rows(trades.head(2))
    hot.insert("silver_trades", through)
    hot.insert("dlq_replays", through.select(*COORDINATES, "exchange", "symbol", "timestamp"))

    found = {row["trade_id"]: row for row in rows(hot.client, "list_resolved", ANY)}
    assert found.keys() == set(trades["trade_id"][:2])
    assert {row["reason"] for row in found.values()} == {"symbol_unmapped"}
    assert [found[trade_id]["rejections"] for trade_id in trades["trade_id"][:2]] == [1, 2]
    assert [found[row["trade_id"]]["rejected_at"] for row in trades.head(2).to_dicts()] == trades["arrived"][
        :2
    ].to_list()
    assert {row["landed"] for row in found.values()} == {"silver"}
    assert rows(hot.client, "list_resolved", {**ANY, "reason": "price_above_limit"}) == []

    (still_open,) = rows(hot.client, "list", ANY)
    assert still_open["trade_id"] == trades["trade_id"][2]


def test_a_message_that_is_rejected_as_before_keeps_its_first_rejection(hot: HotTables, tape: Path) -> None:
    """As A, then, sent again, as B, and at last as A once more, whose delivery replaces the first one in the log."""
    trade = read_tape(tape).head(1)
    through = silver_rows(trade)
    reasons = ("symbol_unmapped", "price_above_limit", "symbol_unmapped")
    for hours, reason in enumerate(reasons):
        later = pl.col("rejected_at") + timedelta(hours=hours)
        dead_letter = dead_letter_rows(trade, reason).with_columns(later)
        hot.insert("dlq_trades_log", dead_letter)
        note = through.select(*COORDINATES, "exchange", "symbol", "timestamp")
        hot.insert("dlq_replays", note.with_columns(dead_letter["rejected_at"], dead_letter["reason"]))
    hot.insert("silver_trades", through)
    hot.client.command("OPTIMIZE TABLE dlq_trades_log FINAL")

    (found,) = rows(hot.client, "list_resolved", ANY)
    assert (found["reason"], found["rejected_at"]) == (reasons[0], trade["arrived"][0])
    assert found["rejections"] == 2, "for two reasons"
    assert rows(hot.client, "list_resolved", {**ANY, "reason": reasons[1]}) == []


def test_a_trade_and_a_message_are_found(hot: HotTables, tape: Path) -> None:
    trades = read_tape(tape).head(5)
    hot.insert("dlq_trades_log", dead_letter_rows(trades))
    wanted = trades.row(3, named=True)
    for name, asked in (("list", ANY), ("show", ANY_MESSAGE)):
        (found,) = rows(hot.client, name, {**asked, "trade_id": wanted["trade_id"]})
        assert found["raw_offset"] == wanted["offset"]
    place = {"topic": "market.crypto.trades.binance.raw", "partition": 0, "offset": wanted["offset"]}
    (shown,) = rows(hot.client, "show", {**ANY_MESSAGE, **place})
    assert shown["trade_id"] == wanted["trade_id"]
    assert rows(hot.client, "list", {**ANY, "trade_id": "none"}) == []
