"""Renders the migrations with the settings into the exact SQL that is sent."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from config.settings import Settings
from config.valid_times import END_US
from ddl.errors import MigrationError
from ddl.layers import STATE_TABLE, load_layers
from ddl.quoting import quote_name, quote_string
from ddl.statements import MigrationStatement, ObjectKind, split
from schemas.kinds import COUNTED
from series.declaration import load_series

MIGRATIONS_FOLDER = Path(__file__).parent
_JOURNAL_TEMPLATE = "_journal.sql"
_NUMBERED = re.compile(r"^(?P<number>\d{4})_\w+\.sql$")


def render(settings: Settings, folder: Path = MIGRATIONS_FOLDER) -> list[MigrationStatement]:
    """Every statement of every migration, in the order in which it is applied.

    Tables come first, then views, both in file order: a view may use a column that a later migration adds to its table.
    An ALTER or DROP after a view in its file stays after that view.

    Raises:
        MigrationError: two files have one number, or a statement is not terminated.
        jinja2.UndefinedError: a file names a setting that does not exist.
    """
    names = _migration_files(folder)
    environment = _environment(folder)
    variables = _variables(settings, environment)
    early: list[MigrationStatement] = []
    late: list[MigrationStatement] = []
    for name in names:
        has_view = False
        for statement in split(name.removesuffix(".sql"), environment.get_template(name).render(variables)):
            is_view = statement.kind in {ObjectKind.VIEW, ObjectKind.MATERIALIZED_VIEW}
            has_view = has_view or is_view
            stays = has_view and statement.kind in {ObjectKind.ALTER, ObjectKind.DROP}
            (late if is_view or stays else early).append(statement)
    return early + late


def render_journal(settings: Settings) -> list[MigrationStatement]:
    """The statements that create the database and the journal, before any migration. They can be repeated."""
    return split("_journal", render_template(settings, _JOURNAL_TEMPLATE))


def render_template(settings: Settings, name: str, **more: object) -> str:
    """A template of this folder that is no migration (`_parse_again.sql`), rendered with the settings and `more`."""
    environment = _environment(MIGRATIONS_FOLDER)
    return environment.get_template(name).render(_variables(settings, environment), **more)


def room_templates(package: Path) -> Environment:
    """The SQL of a package that is no migration: the files of the folders `sql` of its rooms, as templates.

    A file is named without its folder, so no two rooms of a package have files of one name. The templates can use the
    macros, filters and constants of the migrations.
    """
    environment = Environment(
        loader=FileSystemLoader([*sorted(package.glob("**/sql")), MIGRATIONS_FOLDER]),
        undefined=StrictUndefined,
        trim_blocks=True,
        autoescape=False,  # noqa: S701 - the output is SQL, and all variables are constants or quoted
    )
    _share_definitions(environment)
    return environment


def _share_definitions(environment: Environment) -> None:
    environment.filters |= {"literal": quote_string, "name": quote_name}
    environment.globals |= {"counted_kinds": COUNTED, "end_us": END_US}


def _migration_files(folder: Path) -> list[str]:
    by_number: dict[str, str] = {}
    for path in sorted(folder.glob("*.sql")):
        numbered = _NUMBERED.match(path.name)
        if numbered is None:
            if path.name.startswith("_"):
                continue
            raise MigrationError(f"{path}: rename it to NNNN_what_it_does.sql, or _name.sql if it is no migration.")
        other = by_number.setdefault(numbered["number"], path.name)
        if other != path.name:
            raise MigrationError(f"{other} and {path.name} have one number: give the newer file the next free one.")
    return list(by_number.values())


# Cached, because it takes 200 ms to compile the migrations.
@lru_cache(maxsize=8)
def _environment(folder: Path) -> Environment:
    # The output is SQL. Escaping for HTML would break it (hence S701).
    environment = Environment(  # noqa: S701
        loader=FileSystemLoader([folder, MIGRATIONS_FOLDER]),
        undefined=StrictUndefined,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    _share_definitions(environment)
    environment.globals["counting"] = environment.get_template("_counting.sql").module
    return environment


def _variables(settings: Settings, environment: Environment) -> dict[str, object]:
    layers = load_layers()
    cluster = settings.clickhouse_cluster
    variables: dict[str, object] = {
        "db": settings.clickhouse_database,
        "cluster": cluster,
        "on_cluster": f" ON CLUSTER {cluster}" if cluster else "",
        "kafka_brokers": _kafka_name(settings.clickhouse_kafka_brokers),
        "raw_topics": [_kafka_name(topic) for topic in settings.raw_topics],
        "bronze_topic": _kafka_name(settings.bronze_topic),
        "dlq_topic": _kafka_name(settings.dlq_topic),
        "gaps_topic": _kafka_name(settings.gaps_topic),
        "raw_consumer_group": _kafka_name(settings.raw_consumer_group),
        "dlq_consumer_group": _kafka_name(settings.dlq_consumer_group),
        "gaps_consumer_group": _kafka_name(settings.gaps_consumer_group),
        "kafka_flush_interval_ms": settings.kafka_flush_interval_ms,
        "kafka_max_block_rows": settings.kafka_max_block_rows,
        "bronze_rows_per_message": settings.bronze_rows_per_message,
        "bronze_shards": settings.bronze_shards,
        "deduplication_window": settings.deduplication_window,
        "latest_prices_every_s": settings.latest_prices_every_s,
        "max_message_bytes": settings.max_message_bytes,
        "timeframes": layers.timeframes,
        "retention_classes": layers.candles,
        "state_table": STATE_TABLE,
        "retention": layers.all_retention,
        "series": load_series(),
    }
    return variables | {"sql": environment.get_template("_macros.sql").make_module(variables)}


def _kafka_name(text: str) -> str:
    """Return the text if it is a valid name of a topic or group, or a list of hosts.

    Raises:
        MigrationError: the text is no such name.
    """
    if not re.fullmatch(r"[A-Za-z0-9._:,\[\]-]+", text):
        raise MigrationError(f"Setting value {text!r} is no topic, group or host:port; correct the setting.")
    return text
