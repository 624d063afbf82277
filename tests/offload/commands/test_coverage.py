"""Invariant: coverage says of each day what the tables and the checkpoint know, wherever the day's trades are."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from cli.common.context import out
from cli.common.state_folder import backfill_checkpoint, find_state_folder
from cli.main import app
from config.registry import SymbolRegistry
from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.retention.gate import close_gate
from offload.run import run
from producers.backfill.checkpoint import DONE, BackfillCheckpoint
from series.answer import Answer
from series.declaration import series_named
from series.providers import binance_klines
from series.store import SeriesStore
from tests.clickhouse import ENVIRONMENT
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables, dead_letter_rows, silver_rows
from tests.offload.retention.test_gate import LATER
from tests.series.klines import MINUTE_MS, csv, kline, minutes

FIRST = date(2026, 3, 1)
Shown = list[tuple[int, str, str]]


def moment(day: int, hour: float = 12) -> datetime:
    return datetime(FIRST.year, FIRST.month, day, tzinfo=UTC) + timedelta(hours=hour)


def trades(exchange: str, symbol: str, ids_by_day: dict[int, Sequence[int]], *, late: float = 24) -> pl.DataFrame:
    """Trades of days of March, one a minute, received so many hours after their time."""
    rows = [
        (exchange, symbol, str(one), "60000.00000000", "0.50000000", "BUY", moment(day) + timedelta(minutes=place))
        for day, ids in ids_by_day.items()
        for place, one in enumerate(ids)
    ]
    columns = ["exchange", "symbol", "trade_id", "price", "qty", "side", "time"]
    frame = pl.DataFrame(rows, schema=columns, orient="row", schema_overrides={"time": pl.Datetime("us", "UTC")})
    arrived = (pl.col("time") + timedelta(hours=late)).alias("arrived")
    return frame.with_columns(arrived, pl.int_range(pl.len(), dtype=pl.UInt64).alias("offset"))


def gap(hot: HotTables, state: str, day: int, *, ids: tuple[str, str], end: datetime | None = None) -> None:
    row = {
        "exchange": "binance", "symbol": "BTCUSDT", "exchange_symbol": "BTCUSDT", "from_id": ids[0], "to_id": ids[1],
        "from_time": moment(day), "to_time": end or moment(day, 13), "ids_missing": 1, "ids_open": 1, "state": state,
        "detected_at": moment(day, 14), "noted_at": moment(day, 14),
    }  # fmt: skip
    hot.insert("producer_gaps_log", pl.DataFrame([row]))


@pytest.fixture
def settings(http_port: int, tmp_path: Path) -> Settings:
    """There is no cold table yet, and no view of one."""
    return new_settings(http_port, tmp_path)


@pytest.fixture
def ask(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    names = {"clickhouse_host", "clickhouse_http_port", "clickhouse_database"}
    given = {f"MEDALLION_{name}".upper(): str(value) for name, value in settings.model_dump(include=names).items()}
    for name, value in (given | {"XDG_STATE_HOME": str(tmp_path / "state"), **ENVIRONMENT}).items():
        monkeypatch.setenv(name, value)
    # It took its width from the environment when it was imported: that of a worker of pytest is 80.
    monkeypatch.setattr(out, "width", 200)

    def asked(*words: str, as_json: bool = True) -> Any:
        answer = CliRunner().invoke(app, ["coverage", *words, *(["--json"] if as_json else [])], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return json.loads(answer.stdout) if as_json else answer.stdout

    return asked


def put(settings: Settings, steps: dict[str, dict[str, Any]]) -> None:
    place = find_state_folder(None, settings)
    with BackfillCheckpoint(backfill_checkpoint(place), place.name) as checkpoint:
        checkpoint.put_all(steps)


def verdicts(found: list[dict[str, Any]], **of: str) -> Shown:
    chosen = [row for row in found if all(row[name] == value for name, value in of.items())]
    return [(date.fromisoformat(row["day"]).day, row["status"], row["why"]) for row in chosen]


# By hand: day of March → the ids that Silver has. 35 and 45 are missing, 55 was rejected.
BTC = {
    1: range(1, 11),
    2: range(11, 21),
    4: range(21, 31),
    5: [one for one in range(31, 41) if one != 35],
    6: [one for one in range(41, 51) if one != 45],
    7: [one for one in range(51, 61) if one != 55],
    8: range(61, 71),
    10: range(91, 101),
}
EXPECTED = [
    (1, "unknown", "edge_unknown"),
    (2, "complete", "ids_in_sequence"),
    (3, "complete", "ids_in_sequence"),
    (4, "complete", "ids_in_sequence"),
    (5, "partial", "ids_missing"),
    (6, "partial", "gap_open"),
    (7, "partial", "dead_letters"),
    (8, "partial", "ids_missing"),
    (9, "missing", "no_run"),
    (10, "partial", "ids_missing"),
    (11, "missing", "after_last"),
]


# Of the fast tier: those below, and cli/test_coverage_verdicts.py.
@pytest.mark.nightly
def test_what_is_known_of_each_day_hot_and_cold(ask: Callable[..., Any], settings: Settings, hot: HotTables) -> None:
    rows = trades("binance", "BTCUSDT", BTC)
    hot.insert("silver_trades", silver_rows(rows))
    gap(hot, "open", 6, ids=("45", "45"))
    # Healed, and of a window that ends where a day begins.
    gap(hot, "healed", 2, ids=("12", "12"))
    gap(hot, "unfillable", 10, ids=("", ""), end=moment(11, 0))
    rejected = dead_letter_rows(trades("binance", "BTCUSDT", {7: [55]}), "price_above_limit")
    dead_letters = rejected.with_columns(timestamp=pl.lit(moment(7)).dt.cast_time_unit("us"))
    # Another version of a trade that Silver has is no loss.
    other = dead_letters.with_columns(reason=pl.lit("trade_contradicts"), raw_offset=pl.lit(7, pl.UInt64))
    hot.insert(
        "dlq_trades_log",
        pl.concat([dead_letters, other.with_columns(timestamp=pl.lit(moment(8)).dt.cast_time_unit("us"))]),
    )
    expected = [*EXPECTED[:9], (10, "partial", "gap_unfillable"), EXPECTED[10]]
    asked = ("--exchange", "binance", "--symbol", "BTCUSDT", "--to", "2026-03-12")
    before = ask(*asked)
    assert verdicts(before) == expected
    by_day = {row["day"]: row for row in before}
    assert by_day["2026-03-05"]["detail"] == "1 ids"
    assert by_day["2026-03-06"]["detail"] == (
        "open gap: 1 trades, ids 45 to 45 between 2026-03-06 12:00:00 and 2026-03-06 13:00:00"
    )
    assert by_day["2026-03-07"]["detail"] == "price_above_limit 1"
    assert by_day["2026-03-09"]["detail"] == "20 ids are missing between the trades around it"
    counts = {f"{row[0]}": row[1] for row in rows.group_by(pl.col("time").dt.date()).len().iter_rows()}
    assert {day: row["rows"] for day, row in by_day.items() if row["rows"]} == counts
    # A part of the span has the same answers: the days around it are looked up.
    assert ask(*asked[:4], "--from", "2026-03-04", "--to", "2026-03-06") == before[3:5]
    # And so it has when the days are in Iceberg.
    run(Tiers.open(settings), until_now=True, layers=("silver",))
    close_gate(Tiers.open(settings), drop=True, tables=["silver_trades"], now=LATER)
    assert hot.count("silver_trades") == 0
    assert ask(*asked) == before


def test_a_row_stands_for_several_ids(ask: Callable[..., Any], hot: HotTables) -> None:
    """OKX sums matches up under the id of the last one: 5 is 3, 4 and 5. Bybit's ids are no numbers; 02 is not 2."""
    rows = silver_rows(trades("okx", "BTCUSDT", {1: [2], 2: [5], 3: [6]}))
    sums = pl.when(pl.col("trade_id") == "5").then(3).otherwise(1).cast(pl.UInt32).alias("match_count")
    hot.insert("silver_trades", rows.with_columns(sums))
    odd = silver_rows(trades("okx", "ETHUSDT", {1: [1], 2: [2, 3, 4], 3: [5]}))
    hot.insert("silver_trades", odd.with_columns(pl.col("trade_id").replace("3", "02")))
    texts = silver_rows(trades("bybit_linear", "BTCUSDT", {1: [1], 2: [2], 3: [3]}))
    hot.insert("silver_trades", texts.with_columns(trade_id=pl.lit("4f7e-") + pl.col("trade_id")))
    found = ask("--from", "2026-03-02", "--to", "2026-03-03")
    assert [(row["exchange"], row["status"], row["why"]) for row in found] == [
        ("bybit_linear", "unknown", "ids_without_order"),
        ("okx", "complete", "ids_in_sequence"),
        ("okx", "unknown", "ids_without_order"),
    ]


def test_what_a_back_fill_noted(ask: Callable[..., Any], settings: Settings, hot: HotTables) -> None:
    hot.insert("silver_trades", silver_rows(trades("binance", "BTCUSDT", {1: [1, 2], 3: [8, 9]})))
    hot.insert("silver_trades", silver_rows(trades("binance_usdm", "ETHUSDT", {1: [1, 3], 2: [4], 4: [9]}, late=0.1)))
    hot.insert("silver_trades", silver_rows(trades("kraken", "BTCUSD", {1: [5, 6], 2: [7]})))

    def step(trades_of_it: int, *ends: int) -> dict[str, Any]:
        return {**DONE, "sha256": "", "rows": trades_of_it, "trades": trades_of_it, "dead": 0, "ends": [*ends]}

    put(
        settings,
        {
            "dump binance/BTCUSDT/2026-03-01": step(2, 1, 2, 0, 0),
            "dump binance/BTCUSDT/2026-03-02": step(0),
            "dump binance/BTCUSDT/2026-03-03": step(3, 7, 9, 0, 0),
            "failure dump binance/BTCUSDT/2026-03-04": {"error": "no such file", "at_us": 1},
            "dump binance_usdm/ETHUSDT/2026-03-01": step(2, 1, 3, 0, 0),
            "rest kraken/BTC/USD 2026-03-01T00:00:00+00:00 2026-03-03T00:00:00+00:00": {
                **DONE, "window": [5, 7], "total": 3
            },
            "rest kraken/BTC/USD 2026-03-03T00:00:00+00:00 2026-03-04T00:00:00+00:00": {
                "total": 9, "window": [8, 16], "left": [[10, 16]], "since_us": 0, "unreachable": None, "is_over": True
            },
        },
    )  # fmt: skip
    found = ask("--to", "2026-03-05")
    assert verdicts(found, exchange="binance") == [
        (1, "complete", "ids_in_sequence"),
        # Of 3 to 6 nobody knows anything; the file of this day says that it has none of them.
        (2, "complete", "file_read"),
        (3, "partial", "rows_missing"),
        (4, "missing", "failed"),
    ]
    assert verdicts(found, exchange="binance_usdm") == [
        (1, "complete", "file_read"),
        (2, "unknown", "ids_without_trade"),
        (3, "missing", "no_run"),
        (4, "unknown", "ids_without_trade"),
    ]
    assert verdicts(found, exchange="kraken", symbol="BTCUSD") == [
        (1, "complete", "ids_in_sequence"),
        (2, "complete", "ids_in_sequence"),
        (3, "missing", "under_way"),
        (4, "missing", "after_last"),
    ]
    sources = {(row["exchange"], row["day"][-1]): row["sources"] for row in found}
    assert (sources["binance", "1"], sources["binance_usdm", "1"], sources["kraken", "1"]) == (
        ["dump"], ["live", "dump"], ["rest"],
    )  # fmt: skip
    # Successive days with one answer are one line.
    shown = ask("--exchange", "kraken", "--to", "2026-03-05", as_json=False)
    lines = [line.split() for line in shown.splitlines() if "2026-03-0" in line]
    assert [line[-7:-1] for line in lines[:1]] == [
        ["2026-03-01", "2026-03-02", "2", "complete", "ids_in_sequence", "rest"]
    ]
    assert "under_way: a back-fill over REST was begun and not finished." in shown
    # A market of which nothing is known has an answer where it is named.
    assert verdicts(
        ask("--symbol", "SOLUSDT", "--exchange", "binance", "--from", "2026-03-01", "--to", "2026-03-02")
    ) == [(1, "missing", "no_run")]


def test_what_is_stored_of_series(
    ask: Callable[..., Any], settings: Settings, hot: HotTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del hot
    hours = {"series": "bars", "instruments": {"binance": ["ETHUSDT"]}, "frame": "1h", "interval": "1h"}
    schedules = tmp_path / "schedules.yaml"
    schedules.write_text(yaml.safe_dump({"schedules": {"hours": hours | {"from": moment(4).date()}}}))
    monkeypatch.setenv("MEDALLION_SCHEDULES_FILE", str(schedules))
    store = SeriesStore(settings)

    def day_ms(day: int) -> int:
        return int(moment(day, 0).timestamp() * 1e3)

    broken = kline(day_ms(2) + 7 * MINUTE_MS, "-1")
    given = [
        *minutes(day_ms(1), 1_440),
        *(one for one in minutes(day_ms(2), 1_440) if one[0] != broken[0]),
        broken,
        *minutes(day_ms(4), 1_439),
        kline(day_ms(5), "-1"),
        # Not over when the answer came.
        kline(int(moment(9).timestamp() * 1e3)),
    ]
    key = {"exchange": "binance", "symbol": "BTCUSDT", "frame": "1m"}
    body = csv(given)
    rows = binance_klines.of_lines(body.splitlines(keepends=True), key)
    store.insert(series_named("bars"), [Answer("binance", "a file", int(moment(9).timestamp() * 1e6), body, rows)])
    moods = [{"day": str(day_ms(day)), "value": "50", "classification": "Neutral"} for day in (1, 2)]
    answer = Answer("alternative_me", "a question", int(moment(9).timestamp() * 1e6), b"x", moods)
    store.insert(series_named("fear_greed"), [answer])
    # Every 8 hours, of which one is missing on day 2, and every 4 hours from day 4 at 16:00 on; the other way round.
    # Some come a few ms late.
    eight, four = range(0, 24, 8), range(0, 24, 4)
    settled = {
        "BTCUSDT": {1: eight, 2: (0, 16), 3: eight, 4: (0, 8, 16, 20), 5: four, 6: four},
        "ETHUSDT": {1: four, 2: (0, 4, 8, 16), 3: eight, 4: eight},
    }
    rates = [
        {"exchange": "binance_usdm", "symbol": symbol, "rate": "0.0001"}
        | {"funding_time": str(int(moment(day, hour).timestamp() * 1e3) + hour % 7)}
        for symbol, days in settled.items()
        for day, hours_of_day in days.items()
        for hour in hours_of_day
    ]
    store.insert(series_named("funding_rates"), [Answer("ccxt", "a question", answer.received_us, b"y", rates)])
    assert store.full_days(series_named("bars"), key, moment(1, 0), moment(9)) == {date(2026, 3, 1)}
    store.close()
    found = ask("--to", "2026-03-06")
    assert verdicts(found, data="bars", symbol="ETHUSDT") == [(4, "missing", "no_run"), (5, "missing", "no_run")]
    assert verdicts(found, data="bars", symbol="BTCUSDT") == [
        (1, "complete", "all_periods"),
        (2, "partial", "dead_letters"),
        (3, "missing", "no_run"),
        (4, "partial", "periods_missing"),
        (5, "missing", "dead_letters"),
    ]
    assert [(row["rows"], row["sources"]) for row in found if row["data"] == "bars"][:2] == [
        (1_440, ["binance"]), (1_439, ["binance"]),
    ]  # fmt: skip
    assert verdicts(found, data="fear_greed")[:3] == [
        (1, "complete", "all_periods"), (2, "complete", "all_periods"), (3, "missing", "after_last"),
    ]  # fmt: skip
    found = ask("--data", "funding_rates", "--to", "2026-03-07")
    assert verdicts(found, symbol="BTCUSDT") == [
        (1, "complete", "all_periods"),
        (2, "partial", "periods_missing"),
        (3, "unknown", "interval_unknown"),
        (4, "unknown", "interval_unknown"),
        (5, "unknown", "interval_unknown"),
        (6, "complete", "all_periods"),
    ]
    assert [row["detail"] for row in found if row["status"] == "partial"] == ["2 of 3"]
    assert verdicts(found, symbol="ETHUSDT")[:4] == [
        (1, "complete", "all_periods"),
        (2, "unknown", "interval_unknown"),
        (3, "unknown", "interval_unknown"),
        (4, "complete", "all_periods"),
    ]
    ninth = ask("--data", "bars", "--symbol", "BTCUSDT", "--from", "2026-03-09", "--to", "2026-03-10")
    assert verdicts(ninth) == [(9, "missing", "after_last")]
    assert {row["data"] for row in ask("--data", "bars", "--to", "2026-03-06")} == {"bars"}


def csv_of(ids: Sequence[int], day: int) -> str:
    start_us = int(moment(day).timestamp() * 1e6)
    lines = [f"{one},60000.0,0.5,1,{start_us + place * 60_000_000},False,True" for place, one in enumerate(ids)]
    return "\n".join([*lines, ""])


def test_a_back_fill_asks_only_for_what_is_missing(
    ask: Callable[..., Any], hot: HotTables, brokers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Silver has day 2 from a live producer, whole, and a part of day 3; days 1 and 4 not at all."""
    del ask
    held = {1: [10], 2: [11, 12, 13], 3: [14, 16]}
    hot.insert("silver_trades", silver_rows(trades("binance", "BTCUSDT", held, late=0.01)))
    files = {1: [8, 9, 10], 2: [11, 12, 13], 3: [14, 15, 16], 4: [17]}
    for day, ids in files.items():
        (tmp_path / f"BTCUSDT-trades-2026-03-0{day}.csv").write_text(csv_of(ids, day))
    monkeypatch.setenv("MEDALLION_KAFKA_BOOTSTRAP_SERVERS", brokers)
    words = ["backfill", "--exchange", "binance", "--symbols", "BTCUSDT", "--from", "2026-03-01", "--to", "2026-03-05"]
    words += ["--source", str(tmp_path), "--json"]

    def fill(*more: str) -> Any:
        answer = CliRunner().invoke(app, [*words, *more], catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return json.loads(answer.stdout)

    load = SymbolRegistry.load
    loaded: list[Path] = []

    def counting(path: Path) -> SymbolRegistry:
        loaded.append(path)
        return load(path)

    monkeypatch.setattr(SymbolRegistry, "load", counting)
    plan = fill("--dry-run")
    assert len(loaded) == 1
    assert (plan["days"], plan["left_out"]) == (
        [f"binance/BTCUSDT/2026-03-0{day}" for day in (1, 3, 4)],
        ["binance/BTCUSDT/2026-03-02"],
    )
    assert len(fill("--dry-run", "--again")["days"]) == 4
    # Before the market was listed there is nothing to be had.
    young = tmp_path / "symbols.yaml"
    entry = {"canonical": "BTCUSDT", "base": "BTC", "quote": "USDT", "listed_on": date(2026, 2, 28)}
    young.write_text(yaml.safe_dump({"version": 1, "exchanges": {"binance": {"BTCUSDT": entry}}}))
    monkeypatch.setenv("MEDALLION_SYMBOLS_FILE", str(young))
    plan = fill("--dry-run", "--from", "2026-02-26")
    assert [one["day"][-10:] for one in plan["files"]] == ["2026-02-28", "2026-03-01", "2026-03-03", "2026-03-04"]
    monkeypatch.delenv("MEDALLION_SYMBOLS_FILE")
    report = fill()
    assert (report["parts"], report["left_out"], report["published"], report["left_days"]) == (3, 1, 7, [])
    # Silver follows; the days are complete, and their files are looked at: the exchange may have corrected one.
    hot.insert("silver_trades", silver_rows(trades("binance", "BTCUSDT", {1: [8, 9], 3: [15], 4: [17]})))
    report = fill()
    assert (report["parts"], report["skipped"], report["left_out"], report["published"]) == (3, 3, 1, 0)
    # Silver has no day 2 any more, and takes its trades as new.
    left = "INSERT INTO left_partitions (table_name, partition_id) VALUES"
    hot.client.command(f"{left} ('silver_trades', 20260302), ('silver_trades', 20260305), ('trades_raw', 20260303)")
    (tmp_path / "BTCUSDT-trades-2026-03-02.csv").write_text(csv_of([11, 12], 2))
    report = fill("--again")
    assert (report["published"], report["left_days"]) == (2, ["2026-03-02"])
    # Without ClickHouse nothing is known to be complete.
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HTTP_PORT", "1")
    assert len(fill("--dry-run")["files"]) == 4


def test_the_life_of_a_market(ask: Callable[..., Any], hot: HotTables) -> None:
    del ask
    hot.insert("silver_trades", silver_rows(trades("kraken", "BTCUSD", {1: [1], 4: [2, 3]})))
    answer = CliRunner().invoke(app, ["symbols", "list", "--held", "--json"], catch_exceptions=False)
    (row,) = json.loads(answer.stdout)
    assert row["exchange_symbol"] == "BTC/USD", "the alias XBT/USD has no line: the numbers are the market's"
    assert (row["trades"], row["first_trade"], row["last_trade"]) == (
        3, "2026-03-01T12:00:00+00:00", "2026-03-04T12:01:00+00:00",
    )  # fmt: skip
    assert (row["status"], row["listed_on"], row["halted_on"], row["delisted_on"]) == ("active", None, None, None)


def test_a_renamed_market_is_named_with_what_mends_it(
    ask: Callable[..., Any], hot: HotTables, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    del ask
    hot.insert("silver_trades", silver_rows(trades("binance", "BTCUSDT", {1: [1], 4: [2, 3]})))
    hot.insert("silver_trades", silver_rows(trades("binance", "ETHUSDT", {2: [1]})))
    hot.insert("silver_trades", silver_rows(trades("binance", "GONEUSDT", {2: [1]})))
    renamed = tmp_path / "symbols.yaml"
    text = Settings().symbols_file.read_text()
    renamed.write_text(text.replace("canonical: BTCUSDT,", "canonical: BTCUSDTNEW,", 1))

    def check(*words: str) -> Any:
        done = CliRunner().invoke(app, ["symbols", "check", "--file", str(renamed), "--json", *words])
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    found = check()
    assert found["stored_trades"] == "compared"
    of_btc, of_gone = found["findings"]
    assert (of_btc["level"], of_btc["symbol"], of_gone["symbol"]) == ("warning", "BTCUSDT", "GONEUSDT")
    assert "3 trades under the name BTCUSDT, of 2026-03-01 to 2026-03-04" in of_btc["message"]
    command = "medallion rederive --from 2026-03-01 --to 2026-03-05 --exchange binance --symbol BTCUSDTNEW"
    assert f"`{command}`" in of_btc["message"]
    assert "is not in the file" in of_gone["message"]
    # A file can be checked where no stack answers.
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HTTP_PORT", "1")
    found = check()
    assert found["findings"] == []
    assert "does not answer" in found["stored_trades"]


def test_a_trade_that_is_there_twice_hides_none_that_is_missing(ask: Callable[..., Any], hot: HotTables) -> None:
    """Three rows for the ids 3 to 5, of which 5 is missing and 4 is there twice."""
    rows = trades("binance", "BTCUSDT", {1: [1, 2], 2: [3, 4, 4], 3: [6, 7]})
    hot.insert("silver_trades", silver_rows(rows))
    found = ask("--exchange", "binance", "--data", "trades", "--to", "2026-03-04")
    assert verdicts(found)[1] == (2, "partial", "ids_missing")
    assert found[1]["detail"] == "1 ids; 1 rows repeat a trade: `medallion rederive`"
    assert (found[0]["detail"], found[1]["rows"]) == ("nothing is stored before it", 2)
