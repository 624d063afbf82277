"""The runner: idempotent, complete after any interruption, refuses what could lose rows, tells what drifted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
from pydantic import ValidationError

from config.settings import Settings
from ddl.errors import DriftError, MigrationError
from ddl.journal import DatabaseState, look
from ddl.layers import STATE_TABLE, Layers, load_layers
from ddl.plan import Action, State, compare_with_server, without_superseded
from ddl.quoting import quote_string
from ddl.render import render, render_journal
from ddl.runner import Applied, ObjectStatus, apply, status
from ddl.statements import MigrationStatement, ObjectKind, split
from tests.ddl.conftest import core, hand_on
from tests.ddl.engine import Engine, EngineError
from tests.ddl.feed import envelope, publish

_numbers = count(1)
_waiting: list[Settings] = []


def fresh(**changes: object) -> Settings:
    return Settings(clickhouse_database=f"runner_{next(_numbers)}", **changes)  # type: ignore[arg-type]


def changed(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update=changes)


def made(engine: Engine, **changes: object) -> Settings:
    """A new database with the core."""
    settings = fresh(**changes)
    apply(engine, settings, core(settings))
    return settings


@pytest.fixture
def kept(engine: Engine) -> Iterator[Settings]:
    """A database with the core. The next test gets it, too, if this one has put back what it changed."""
    settings = _waiting.pop() if _waiting else made(engine)
    found = look(engine, settings).definitions
    yield settings
    if look(engine, settings).definitions == found:
        _waiting.append(settings)


def bring(engine: Engine, settings: Settings, extra: Sequence[MigrationStatement] = ()) -> list[Applied]:
    """Apply the core, and what is given."""
    return apply(engine, settings, [*core(settings), *extra])


def states(engine: Engine, settings: Settings, extra: Sequence[MigrationStatement] = ()) -> dict[str, State]:
    return {entry.object: entry.state for entry in status(engine, settings, [*core(settings), *extra])}


def names(applied: list[Applied]) -> list[str]:
    return [each.object for each in applied]


def one(entries: list[ObjectStatus], name: str) -> ObjectStatus:
    (entry,) = [entry for entry in entries if entry.object == name]
    return entry


def test_apply_makes_every_object_once_and_consumption_starts_last(engine: Engine) -> None:
    settings = fresh()
    assert {entry.state for entry in status(engine, settings)} == {State.PENDING}
    applied = apply(engine, settings)
    # Consumption starts last: a row that arrived while a view is missing would pass it by.
    assert names(applied)[-3:] == ["trades_raw_mv", "dlq_trades_mv", "producer_gaps_mv"]
    wanted = without_superseded(render(settings), ())
    assert sorted(names(applied)) == sorted(statement.object for statement in wanted)
    assert {entry.state for entry in status(engine, settings)} == {State.APPLIED}
    engine.sent.clear()
    assert apply(engine, settings) == []
    assert not [sql for sql in engine.sent if not sql.lstrip().startswith("SELECT")]
    hand_on(settings)


def apply_in_pieces(engine: Engine, settings: Settings) -> int:
    """Cut `apply` off after 1, 2, 3, … changes until it gets through; the number of interruptions."""
    for interruptions in count():
        engine.budget = interruptions
        try:
            bring(engine, settings)
        except EngineError as error:
            assert "refused by the test" in str(error)  # noqa: PT017
        else:
            return interruptions
        finally:
            engine.budget = None
    raise AssertionError


def test_an_interrupted_apply_is_completed(engine: Engine) -> None:
    settings = fresh()
    assert apply_in_pieces(engine, settings) > 8
    assert set(states(engine, settings).values()) == {State.APPLIED}
    publish(engine, settings, [envelope()])
    other = changed(settings, bronze_shards=3, exchanges=("binance",), max_message_bytes=4_000)
    assert apply_in_pieces(engine, other) > 3
    assert set(states(engine, other).values()) == {State.APPLIED}
    publish(engine, other, [envelope(), envelope(payload="x" * 4_000)])
    assert engine.execute(
        f"SELECT defect, count() FROM {settings.clickhouse_database}.bronze_trades_sink GROUP BY ALL ORDER BY ALL"
    ) == [["", 2], ["message_too_large", 1]]


def test_a_changed_table_is_refused_and_nothing_is_touched(engine: Engine, warehouse: Settings) -> None:
    settings = warehouse
    other = changed(settings, deduplication_window=5_000, exchanges=("binance",))
    engine.sent.clear()
    with pytest.raises(
        DriftError, match=r"silver_trades: the file or a setting in it changed.*ALTER in a new migration"
    ):
        apply(engine, other)
    assert not [sql for sql in engine.sent if not sql.lstrip().startswith("SELECT")]
    assert one(status(engine, other), "silver_trades").state is State.DRIFTED
    assert one(status(engine, other), "trades_raw_queue").state is State.DRIFTED
    assert one(status(engine, other), "trades_raw").state is State.APPLIED


def test_an_interrupted_table_of_other_settings_is_refused(engine: Engine, warehouse: Settings) -> None:
    """It is there as it was begun. Nobody may take it for one of today's settings."""
    other = changed(warehouse, deduplication_window=5_000, exchanges=("binance",))
    server = look(engine, warehouse)
    begun = {key: replace(entry, state="started") for key, entry in server.entries.items()}
    verdicts = compare_with_server(render(other), DatabaseState(begun, server.definitions), lambda *_: True)
    found = {verdict.statement.object: verdict for verdict in reversed(verdicts)}  # the first of each: its CREATE
    assert (found["silver_trades"].state, found["silver_trades"].action) == (State.DRIFTED, None)
    assert (found["trades_raw_queue"].state, found["trades_raw_queue"].action) == (State.PENDING, Action.REPLACE)
    assert (found["trades_raw"].state, found["trades_raw"].action) == (State.PENDING, Action.CREATE)


def test_a_new_exchange_and_limit_are_taken_over_in_place(engine: Engine, kept: Settings) -> None:
    settings = kept
    publish(engine, settings, [envelope(trade_id="before")])
    other = changed(settings, exchanges=("binance", "mexc"), max_message_bytes=2_000)
    applied = bring(engine, other)
    assert names(applied) == [
        "trades_raw_queue", "bronze_trades_mv", "trades_raw_mv", "dlq_trades_mv", "producer_gaps_mv",
    ]  # fmt: skip
    publish(engine, other, [envelope(trade_id="after"), envelope(trade_id="long", payload="x" * 2_000)])
    assert engine.execute(
        f"SELECT trade_id, defect FROM {settings.clickhouse_database}.bronze_trades_sink ORDER BY trade_id"
    ) == [["after", ""], ["before", ""], ["long", "message_too_large"]]
    assert bring(engine, other) == []
    assert set(states(engine, other).values()) == {State.APPLIED}
    assert names(bring(engine, settings)) == names(applied)


def test_a_new_pace_of_the_latest_prices_is_taken_over(engine: Engine, warehouse: Settings) -> None:
    settings = warehouse
    other = changed(settings, latest_prices_every_s=7)
    assert "latest_prices_mv" in names(apply(engine, other))
    shown = f"SHOW CREATE TABLE {settings.clickhouse_database}.latest_prices_mv"
    assert "REFRESH EVERY 7 SECOND" in str(engine.execute(shown))
    assert {entry.state for entry in status(engine, other)} == {State.APPLIED}
    apply(engine, settings)
    assert {entry.state for entry in status(engine, settings)} == {State.APPLIED}


# Its siblings: test_an_interrupted_apply_is_completed goes from one shard to three, ddl/test_bronze_stream.py has what
# each number of shards makes of the rows.
@pytest.mark.nightly
def test_shards_may_grow_and_shrink(engine: Engine) -> None:
    settings = made(engine, bronze_shards=1)
    for before, after in ((1, 3), (3, 2), (2, 1)):
        other = changed(settings, bronze_shards=after)
        bring(engine, other)
        partition = publish(
            engine, other, [envelope(symbol=f"S{number}", trade_id=str(number)) for number in range(50)]
        )
        table = f"{settings.clickhouse_database}.bronze_trades_sink WHERE raw_partition = {partition}"
        counted = f"SELECT count(), uniqExact(raw_offset), uniqExact(_key) FROM {table}"
        assert engine.execute(counted) == [[50, 50, after]]
        assert set(states(engine, other).values()) == {State.APPLIED}
        assert set(states(engine, changed(settings, bronze_shards=before)).values()) != {State.APPLIED}


@pytest.mark.nightly
def test_while_views_change_nothing_is_consumed(engine: Engine) -> None:
    settings = made(engine, bronze_shards=1)
    engine.sent.clear()
    bring(engine, changed(settings, bronze_shards=2))
    changes = [sql for sql in engine.sent if sql.startswith(("DROP", "CREATE", "ALTER"))]
    kept = [sql for sql in changes if "schema_migrations" not in sql and "CREATE DATABASE" not in sql]
    assert [sql.split(".", 1)[1].split()[0] for sql in kept] == [
        "trades_raw_mv", "dlq_trades_mv", "producer_gaps_mv",
        "bronze_trades_sink_mv", "bronze_trades_sink_mv_1",
        "trades_raw_mv", "dlq_trades_mv", "producer_gaps_mv",
    ]  # fmt: skip
    assert kept[3].startswith("ALTER TABLE")


def test_a_dropped_view_is_made_again_and_a_dropped_table_is_not(engine: Engine) -> None:
    settings = made(engine)
    database = settings.clickhouse_database
    engine.execute(f"DROP VIEW {database}.gold_ohlcv_1m")
    assert states(engine, settings)["gold_ohlcv_1m"] is State.MISSING
    assert names(bring(engine, settings)) == ["gold_ohlcv_1m"]
    engine.execute(f"DROP TABLE {database}.silver_trades SYNC")
    with pytest.raises(DriftError, match="silver_trades was applied and is gone: restore it"):
        bring(engine, settings)
    assert states(engine, settings)["silver_trades"] is State.MISSING


def test_alterations_on_the_server_are_seen(engine: Engine, kept: Settings) -> None:
    settings = kept
    database = settings.clickhouse_database
    engine.execute(f"ALTER TABLE {database}.trades_raw ADD COLUMN mine String")
    engine.execute(f"ALTER TABLE {database}.gold_ohlcv_mv MODIFY QUERY SELECT 'x' AS exchange")
    engine.execute(f"CREATE TABLE {database}.mine (a String) ENGINE = Memory")
    seen = states(engine, settings)
    assert {name: state for name, state in seen.items() if state is not State.APPLIED} == {
        "trades_raw": State.DRIFTED,
        "gold_ohlcv_mv": State.DRIFTED,
        "mine": State.UNEXPECTED,
    }
    with pytest.raises(DriftError, match="trades_raw was altered on the server: undo that by hand"):
        bring(engine, settings)
    engine.execute(f"ALTER TABLE {database}.trades_raw DROP COLUMN mine")
    assert names(bring(engine, settings))[0] == "gold_ohlcv_mv"
    assert {name for name, state in states(engine, settings).items() if state is not State.APPLIED} == {"mine"}
    engine.execute(f"DROP TABLE {database}.mine SYNC")


def test_a_stranger_in_the_way_is_not_taken_over(engine: Engine) -> None:
    settings = fresh()
    engine.execute(f"CREATE DATABASE {settings.clickhouse_database} ENGINE = Atomic")
    engine.execute(f"CREATE TABLE {settings.clickhouse_database}.silver_trades (a String) ENGINE = Memory")
    with pytest.raises(DriftError, match="silver_trades exists but was not made by this runner"):
        bring(engine, settings)
    assert states(engine, settings)["silver_trades"] is State.UNEXPECTED


def test_render_for_a_cluster(engine: Engine) -> None:
    statements = render_journal(fresh(clickhouse_cluster="prod")) + render(fresh(clickhouse_cluster="prod"))
    for statement in statements:
        assert " ON CLUSTER prod" in statement.sql.split("\n")[0] or statement.kind is ObjectKind.DATA, statement.key
        (formatted,) = engine.execute(f"SELECT formatQueryOrNull({quote_string(statement.sql)})")[0]
        assert formatted, statement.key
        # A twin of another table (`AS db.table`) has that table's engine; each server makes its own copy of the prices.
        own = ("_leaving", "_staged", "latest_prices_copy")
        if statement.kind is ObjectKind.TABLE and not statement.object.endswith(own):
            assert "ENGINE = Replicated" in statement.sql
        assert "non_replicated" not in statement.sql


def test_every_table_of_silver_and_gold_remembers_inserts() -> None:
    tables = {s.object: s.sql for s in render(fresh(deduplication_window=7_777)) if s.kind is ObjectKind.TABLE}
    cascade = ["silver_trades", "duplicate_trades", STATE_TABLE]
    for name in cascade:
        assert "non_replicated_deduplication_window = 7777" in tables[name]


def test_nothing_deletes_by_itself_and_retention_is_data(engine: Engine, warehouse: Settings) -> None:
    assert not [s.key for s in render(warehouse) if " TTL " in s.sql.upper()]
    rows = engine.execute(f"SELECT table_name, days FROM {warehouse.clickhouse_database}.retention")
    declared: dict[str, int] = {name: days for name, days in rows}  # noqa: C416
    assert (declared["trades_raw"], declared["bronze_trades"], declared["silver_trades"]) == (2, 7, 30)
    tables = engine.execute(
        f"SELECT table, name FROM system.columns WHERE database = {quote_string(warehouse.clickhouse_database)}"
    )
    for entry in load_layers().all_retention:
        assert [entry.table, entry.event_time] in tables
        assert [entry.table, entry.arrival_time] in tables


def test_migration_files_must_be_numbered_once(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1;\n")
    (tmp_path / "0001_b.sql").write_text("SELECT 1;\n")
    with pytest.raises(MigrationError, match="next free one"):
        render(fresh(), tmp_path)
    (tmp_path / "0001_b.sql").rename(tmp_path / "two.sql")
    with pytest.raises(MigrationError, match="NNNN_what_it_does"):
        render(fresh(), tmp_path)
    (tmp_path / "two.sql").rename(tmp_path / "0002_b.sql")
    (tmp_path / "0002_b.sql").write_text("SELECT 1;\nSELECT 2")
    with pytest.raises(MigrationError, match="lacks its `;`"):
        render(fresh(), tmp_path)


def test_a_setting_cannot_break_out_of_its_literal() -> None:
    with pytest.raises(MigrationError, match="correct the setting"):
        render(fresh(bronze_topic="x', kafka_format = 'CSV"))


def with_frame(code: str, seconds: int, of: int) -> Layers:
    """The shipped layers with one more time frame in a retention class."""
    shipped = load_layers()
    candles = list(shipped.candles)
    candles[of] = candles[of].model_copy(update={"frames": {**candles[of].frames, code: seconds}})
    return Layers.model_validate({**shipped.model_dump(), "candles": [kept.model_dump() for kept in candles]})


def test_a_frame_is_added_in_place(engine: Engine, kept: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its entry in layers.yaml alone, and no table changes."""
    settings = kept
    monkeypatch.setattr("ddl.render.load_layers", lambda: with_frame("4h", 14_400, of=1))
    changes = names(bring(engine, settings))
    assert {"gold_ohlcv_mv", "gold_ohlcv_4h", "gold_ohlcv_4h_exact"} <= set(changes)
    assert STATE_TABLE not in changes
    database = settings.clickhouse_database
    engine.execute(
        f"INSERT INTO {database}.silver_trades (exchange, symbol, trade_id, price, quantity, quote_volume, timestamp)"
        " SELECT 'binance', 'BTCUSDT', toString(number), 1, 1, 1, toDateTime64(1760054400 + number * 3600, 6, 'UTC')"
        " FROM numbers(6)"
    )
    candles = engine.execute(f"SELECT trade_count FROM {database}.gold_ohlcv_4h ORDER BY window_start")
    assert [int(row[0]) for row in candles] == [4, 2]
    monkeypatch.undo()
    assert {"gold_ohlcv_4h", "gold_ohlcv_4h_exact"} <= set(names(bring(engine, settings)))


@pytest.mark.parametrize(("code", "seconds", "of"), [("2h", 7_200, 0), ("30m", 1_800, 1), ("90m", 90 * 61, 1)])
def test_a_frame_that_its_table_could_not_keep_is_refused(code: str, seconds: int, of: int) -> None:
    """In another class than its length says its partition would leave too early or too late."""
    with pytest.raises(ValidationError):
        with_frame(code, seconds, of).timeframes  # noqa: B018


def test_a_later_migration_alters_a_table(engine: Engine, kept: Settings) -> None:
    settings = kept
    database = settings.clickhouse_database
    text = (
        f"ALTER TABLE {database}.trades_raw ADD COLUMN IF NOT EXISTS note String DEFAULT 'a;b';\n"
        f"INSERT INTO {database}.dlq_trades_log (reason) VALUES ('x;\\\\n');\n"
    )
    later = split("0099_note", text)
    assert [statement.kind for statement in later] == [ObjectKind.ALTER, ObjectKind.DATA]
    assert states(engine, settings, later)["trades_raw"] is State.PENDING
    assert len(bring(engine, settings, later)) == 5
    assert bring(engine, settings, later) == []
    assert set(states(engine, settings, later).values()) == {State.APPLIED}
    edited = split("0099_note", text.replace("'a;b'", "'c'"))
    with pytest.raises(DriftError, match=r"statement 1 of 0099_note.sql changed after it ran"):
        bring(engine, settings, edited)
