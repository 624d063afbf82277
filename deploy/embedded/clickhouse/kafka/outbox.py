"""Publishes the rows of outbox tables, which only earlier versions have, and drops the tables."""

from __future__ import annotations

import orjson

from ddl.quoting import quote_name, quote_string
from deploy.embedded.clickhouse.engine.engine_session import EngineSession
from deploy.embedded.clickhouse.kafka.catalog import Name, StandIn

_SUFFIX = ".outbox"
_PARTS = """
SELECT name FROM system.parts
WHERE database = {database:String} AND table = {name:String} AND active AND rows > 0
ORDER BY min_block_number, name
"""


def put_aside(session: EngineSession, outbox: StandIn) -> None:
    """Rename an outbox, and put a sink of this version in its place. If it is killed, it can run again.

    Raises:
        EngineError: the engine failed.
    """
    database, name = outbox.name
    if name.endswith(_SUFFIX):
        return
    aside = database, f"{name}{_SUFFIX}"
    session.execute(outbox.table.stand_in(f"CREATE TABLE IF NOT EXISTS {_quoted(aside)}"))
    session.execute(f"EXCHANGE TABLES {_quoted(outbox.name)} AND {_quoted(aside)}")


def publish(session: EngineSession, outbox: StandIn) -> None:
    """Insert the rows of a renamed outbox into its sink, part by part, and drop the outbox.

    A part was one insert, so its rows have one key. If the node is killed, the current part is published again.

    Raises:
        EngineError: the engine failed, or the sink refused.
    """
    database, name = outbox.name
    source, sink = _quoted(outbox.name), _quoted((database, name.removesuffix(_SUFFIX)))
    parts = session.query(_PARTS, "JSONCompactEachRow", params={"database": database, "name": name}).splitlines()
    for part in (quote_string(orjson.loads(line)[0]) for line in parts):
        rows = f"SELECT * FROM {source} WHERE _part = {part} ORDER BY _part_offset"  # noqa: S608 - quoted names
        session.execute(f"INSERT INTO {sink} {rows}", {"max_threads": "1"})
        session.execute(f"ALTER TABLE {source} DROP PART {part}")
    session.execute(f"DROP TABLE {source} SYNC")


def _quoted(name: Name) -> str:
    return ".".join(quote_name(part) for part in name)
