"""What the analyst may read exists, and nothing that only the pipeline needs is among it."""

from __future__ import annotations

from config.settings import Settings
from ddl.analyst import analyst_tables
from ddl.layers import load_layers
from ddl.render import render


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
