"""What the analyst may read exists, and nothing that only the pipeline needs is among it."""

from __future__ import annotations

from config.settings import Settings
from ddl.analyst import analyst_tables, listed_tables
from ddl.layers import load_layers
from ddl.render import render
from tests.ddl.engine import Engine


def test_every_name_is_made_by_the_migrations_or_the_offload() -> None:
    made = " ".join(statement.sql for statement in render(Settings()))
    for name in set(analyst_tables()) - set(load_layers().union_views):
        assert f"medallion.{name}\n" in made or f"medallion.{name} " in made, name


def test_raw_messages_and_the_pipelines_own_tables_are_not_among_it() -> None:
    names = analyst_tables()
    assert len(names) == len(set(names))
    assert not any(
        word in name for name in names for word in ("raw", "bronze", "_mv", "_queue", "_sink", "state", "_log")
    )


def test_raw_messages_are_among_it_where_they_are_asked_for() -> None:
    assert set(analyst_tables(raw=True)) - set(analyst_tables()) == {"trades_raw", "trades_raw_all"}


def test_what_is_listed_fits_a_screen_and_may_be_read() -> None:
    assert set(listed_tables()) <= set(analyst_tables())
    assert {frame.view for frame in load_layers().timeframes} < set(listed_tables())
    assert len(listed_tables()) <= 12


def test_every_view_that_an_analyst_reads_shows_names_as_text(engine: Engine, warehouse: Settings) -> None:
    """An Enum is bytes in pandas' Parquet, and a number in Arrow and ORC. Silver's table has one, `trades` its text."""
    database, hot = warehouse.clickhouse_database, set(analyst_tables(raw=True)) - set(load_layers().union_views)
    sql = f"SELECT table, name FROM system.columns WHERE database = '{database}' AND type LIKE '%Enum%'"
    assert [(table, name) for table, name in engine.execute(sql) if table in hot] == [("silver_trades", "side")]


def test_every_column_that_an_analyst_reads_is_explained(engine: Engine, warehouse: Settings) -> None:
    """The views over cold rows take the comments of these columns: tests/offload looks at them."""
    database, hot = warehouse.clickhouse_database, set(analyst_tables()) - set(load_layers().union_views)
    columns = engine.execute(f"SELECT table, name, comment FROM system.columns WHERE database = '{database}'")
    assert {table for table, _, _ in columns} >= hot
    assert [(table, name) for table, name, comment in columns if table in hot and not comment.strip()] == []
