"""Re-derivations as a user lives them: through the command line, on recorded trades, on a running stack."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tests.cli.conftest import Running
from tests.stack import truth

pytestmark = [pytest.mark.stack, pytest.mark.timeout(900)]

LIMIT = Decimal("0.05")
# The recording has trades of two weeks; one of them is re-derived.
WEEK = ("--from", "2024-08-05", "--to", "2024-08-12", "--exchange", "binance_usdm")


def sample(recording: Path, folder: Path) -> Path:
    """Every tenth line of a recording: trades of every day of it."""
    chosen = folder / "sample.jsonl"
    with gzip.open(recording, "rt", encoding="utf-8") as lines:
        chosen.write_text("".join(line for number, line in enumerate(lines) if not number % 10), encoding="utf-8")
    return chosen


def trades_of(recording: Path) -> pl.DataFrame:
    """The trades, read here without the product; `week`: of the week that is re-derived."""
    frames = [json.loads(line)["data"] for line in recording.read_text(encoding="utf-8").splitlines()]
    decimal = pl.Decimal(38, 18)
    return pl.DataFrame(
        {
            "exchange": "binance_usdm",
            "symbol": [frame["s"] for frame in frames],
            "price": pl.Series([frame["p"] for frame in frames]).str.to_decimal(scale=18).cast(decimal),
            "quantity": pl.Series([frame["q"] for frame in frames]).str.to_decimal(scale=18).cast(decimal),
            "timestamp": pl.Series([frame["T"] for frame in frames]).cast(pl.Datetime("ms")).cast(pl.Datetime("us")),
            "position": [frame["t"] for frame in frames],
        }
    ).with_columns((pl.col("timestamp").dt.month() == 8).alias("week"))


def limit(running: Running, quantity_max: Decimal | None) -> None:
    """Set BTCUSDT's limit in the symbols file, or the shipped one again."""
    document = yaml.safe_load(running.symbols.read_text(encoding="utf-8"))
    market = document["exchanges"]["binance_usdm"]["BTCUSDT"]
    market.pop("quantity_max", None)
    if quantity_max is not None:
        market["quantity_max"] = float(quantity_max)
    running.symbols.write_text(yaml.safe_dump(document), encoding="utf-8")


def allowed(trades: pl.DataFrame, quantity_max: Decimal) -> pl.Expr:
    return (pl.col("symbol") != "BTCUSDT") | (pl.col("quantity") <= pl.lit(quantity_max))


def assert_gold_is(running: Running, trades: pl.DataFrame) -> None:
    """Every candle of every frame, to the digit."""
    cells = ", ".join(f"toString({cell}) AS {cell}" for cell in truth.CELLS)
    found = running.query(
        " UNION ALL ".join(
            f"SELECT '{frame}' AS frame, toString(exchange) AS exchange, toString(symbol) AS symbol, "
            f"toString(window_start) AS window, {cells} FROM gold_ohlcv_{frame}_exact"
            for frame in truth.FRAMES
        )
    )
    for frame in truth.FRAMES:
        candles = {
            (row["exchange"], row["symbol"], row["window"]): {cell: truth.text(row[cell]) for cell in truth.CELLS}
            for row in found
            if row["frame"] == frame
        }
        assert candles == truth.candles(trades, frame), frame


def places(running: Running) -> tuple[int, int, int]:
    """Messages in Silver, among the duplicates and in the dead letters, by the counting proof, which must hold."""
    proof = running.json("lineage", "verify")
    assert proof["holds"]
    silver, duplicates, dlq = (
        sum(count[name] for count in proof["counts"]) for name in ("silver", "duplicates", "dlq")
    )
    return silver, duplicates, dlq


@pytest.mark.nightly
def test_a_limit_changes_and_a_week_follows(running: Running, recordings: Path, tmp_path: Path) -> None:
    """Scenario 1: the limit falls, then rises; the other week, and what comes in live, stay right."""
    recording = sample(recordings / "binance_usdm_trades.jsonl.gz", tmp_path)
    trades = trades_of(recording)
    running.run("replay", recording, "--exchange", "binance_usdm")
    running.run("drain")
    running.run("offload", "run", "--until-now")
    running.run("pin", "create", "before")
    assert places(running) == (trades.height, 0, 0)

    limit(running, LIMIT)
    kept = trades.filter(~pl.col("week") | allowed(trades, LIMIT))
    lost = trades.height - kept.height
    assert lost > 100
    planned = running.json("rederive", *WEEK, "--dry-run")
    assert planned["dry_run"]
    assert sum(day["removed"] for day in planned["days"]) == lost
    assert_gold_is(running, trades)
    done = running.json("rederive", *WEEK)
    assert sum(day["removed"] for day in done["days"]) == sum(day["letters_added"] for day in done["days"]) == lost
    assert_gold_is(running, kept)
    assert places(running) == (kept.height, 0, lost)
    dead_letters = running.json("dlq", "stats")
    assert [(row["reason"], row["records"]) for row in dead_letters] == [("quantity_above_limit", lost)]

    # The same trades come again: what Silver has is a duplicate, what it lost is rejected, and none comes twice.
    again = tmp_path / "again.jsonl"
    frames = [json.loads(line) for line in recording.read_text(encoding="utf-8").splitlines()]
    august = [frame for frame in frames if frame["data"]["T"] >= 1_722_470_400_000]
    again.write_text("".join(json.dumps(frame) + "\n" for frame in august[:500]), encoding="utf-8")
    sent = trades.filter("week").head(500)
    rejected = sent.height - sent.filter(allowed(sent, LIMIT)).height
    running.run("replay", again, "--exchange", "binance_usdm")
    running.run("drain")
    assert places(running) == (kept.height, sent.height - rejected, lost + rejected)
    assert_gold_is(running, kept)

    # The limit is lifted: the rows come back, the dead letters are resolved; the workers were never restarted.
    limit(running, None)
    running.run("offload", "run", "--until-now")
    done = running.json("rederive", *WEEK)
    assert sum(day["added"] for day in done["days"]) == lost
    assert places(running) == (trades.height, sent.height, 0)
    assert_gold_is(running, trades)
    running.run("replay", again, "--exchange", "binance_usdm")
    running.run("drain")
    assert places(running) == (trades.height, 2 * sent.height, 0)
    assert_gold_is(running, trades)
    assert running.json("ddl", "status")
    assert running.query("SELECT count() AS n, uniqExact(trade_id, symbol) AS ids FROM silver_trades") == [
        {"n": trades.height, "ids": trades.height}
    ]
    again_done: dict[str, Any] = running.json("rederive", *WEEK)
    assert {(day["added"], day["removed"], day["altered"]) for day in again_done["days"]} == {(0, 0, 0)}


def _names(trade: dict[str, Any]) -> tuple[str, ...]:
    return "--exchange", "binance", "--symbol", trade["s"], "--trade-id", str(trade["t"])


@pytest.mark.nightly
def test_a_damaged_value_is_traced_to_its_layer_and_mended(running: Running, recordings: Path, tmp_path: Path) -> None:
    """Scenario 2: prices change in Raw, by a wrong Bronze view, and in Silver; each is found where it changed.

    Then the view is put right, and a re-derivation from Raw mends Bronze, Silver and Gold.
    """
    recording = sample(recordings / "binance_spot_trades.jsonl.gz", tmp_path)
    lines = [json.loads(line) for line in recording.read_text(encoding="utf-8").splitlines()]
    in_raw, in_bronze, in_silver, whole = (line.get("data", line) for line in lines[:4])
    view = "SELECT as_select FROM system.tables WHERE database = currentDatabase() AND name = 'bronze_trades_mv'"
    text = running.query(view)[0]["as_select"]
    price = "substringUTF8(raw.price, 1, longest)"
    assert text.count(f"{price} AS price_text") == 1, text
    wrong = text.replace(
        f"{price} AS price_text", f"if(raw.trade_id = '{in_bronze['t']}', '1.5', {price}) AS price_text"
    )
    running.run("query", f"ALTER TABLE bronze_trades_mv MODIFY QUERY {wrong}")
    running.run("replay", recording, "--exchange", "binance")
    running.run("drain")
    running.run("offload", "run", "--until-now")
    for table, trade in (("trades_raw", in_raw), ("silver_trades", in_silver)):
        where = f"trade_id = '{trade['t']}' AND symbol = '{trade['s']}' SETTINGS mutations_sync = 2"
        value = "'1.5'" if table == "trades_raw" else "1.5"
        running.run("query", f"ALTER TABLE {table} UPDATE price = {value} WHERE {where}")

    for layer, trade in (("raw_trades", in_raw), ("bronze_trades", in_bronze), ("silver_trades", in_silver)):
        first = running.json("lineage", "trace", *_names(trade), code=1)["changes"][0]
        assert (first["layer"], Decimal(first["after"])) == (layer, Decimal("1.5")), first
        assert Decimal(first["before"]) == Decimal(trade["p"])
    assert running.json("lineage", "trace", *_names(whole))["changes"] == []

    running.run("ddl", "apply")
    span = ("--from", "2024-08-08", "--to", "2024-08-10", "--exchange", "binance", "--from-layer", "raw")
    planned = running.json("rederive", *span, "--dry-run")
    assert sum(hour["altered"] for hour in planned["bronze"]) == 1
    done = running.json("rederive", *span)
    assert done["bronze"] == planned["bronze"]
    assert sum(day["altered"] for day in done["days"]) == 1
    for trade in (in_bronze, in_silver, whole):
        assert running.json("lineage", "trace", *_names(trade))["changes"] == [], trade
    # Nothing is derived into Raw: the proof names it until it is as it was offloaded.
    proof = running.json("lineage", "verify", code=1)
    differences = [found for table in proof["cold"]["tables"] for found in table["differences"]]
    assert [(found["table"], found["symbol"]) for found in differences] == [("raw_trades", in_raw["s"])]
    where = f"trade_id = '{in_raw['t']}' AND symbol = '{in_raw['s']}' SETTINGS mutations_sync = 2"
    running.run("query", f"ALTER TABLE trades_raw UPDATE price = '{in_raw['p']}' WHERE {where}")
    assert places(running) == (len(lines), 0, 0)
