"""What the engine's own catalog says: which tables are stand-ins, and what is fed from what."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from deploy.embedded.clickhouse.engine_session import EngineSession
from deploy.embedded.clickhouse.kafka.definition import KafkaTable, Role, parse_kafka_table
from deploy.embedded.clickhouse.tokens import scan

Name = tuple[str, str]

_TABLES = """
SELECT database, name, toString(uuid), engine, comment, create_table_query, dependencies_database, dependencies_table
FROM system.tables
WHERE database NOT IN ('system', 'information_schema', 'INFORMATION_SCHEMA') AND NOT is_temporary
"""


@dataclass(frozen=True)
class StandIn:
    """One stand-in table where it is now: names may change, the UUID stays."""

    uuid: str
    name: Name
    table: KafkaTable


@dataclass(frozen=True)
class Catalog:
    """The stand-ins by UUID, and for each source what its rows reach.

    Attributes:
        stand_ins: by UUID.
        fed: by UUID of a source: whether a view reads it, without which nothing may be consumed.
        sinks: by UUID of a source: the UUIDs of the sinks that its rows reach through views.
    """

    stand_ins: Mapping[str, StandIn]
    fed: frozenset[str]
    sinks: Mapping[str, frozenset[str]]


def read_catalog(session: EngineSession) -> Catalog:
    """Read the engine's tables.

    Raises:
        EngineError: the engine failed.
    """
    stand_ins: dict[str, StandIn] = {}
    flows: dict[Name, set[Name]] = {}
    for line in session.query(_TABLES, "JSONCompactEachRow").splitlines():
        database, name, uuid, engine, comment, created, view_databases, views = orjson.loads(line)
        flows.setdefault((database, name), set()).update(zip(view_databases, views, strict=True))
        if engine == "MaterializedView":
            flows[database, name].add(_target(created, database) or (database, f".inner_id.{uuid}"))
        elif engine in {"Null", "MergeTree"} and (table := _kafka_table(comment)) is not None:
            stand_ins[uuid] = StandIn(uuid, (database, name), table)
    sinks = {one.name: uuid for uuid, one in stand_ins.items() if one.table.role is Role.SINK}
    sources = [one for one in stand_ins.values() if one.table.role is Role.SOURCE]
    reached = {one.uuid: _reach(one.name, flows) for one in sources}
    return Catalog(
        stand_ins,
        frozenset(one.uuid for one in sources if flows.get(one.name)),
        {uuid: frozenset(sinks[name] for name in names if name in sinks) for uuid, names in reached.items()},
    )


# The catalog is read again after every change, while most statements in it stay as they are.
_kafka_table = functools.lru_cache(maxsize=1024)(parse_kafka_table)


def _reach(start: Name, flows: Mapping[Name, set[Name]]) -> set[Name]:
    reached: set[Name] = set()
    ahead = [start]
    while ahead:
        for following in flows.get(ahead.pop(), ()):
            if following not in reached:
                reached.add(following)
                ahead.append(following)
    return reached


@functools.lru_cache(maxsize=1024)
def _target(created: str, database: str) -> Name | None:
    """The table after TO in `CREATE MATERIALIZED VIEW v TO db.t … AS SELECT`."""
    tokens = list(scan(created))
    for index, token in enumerate(tokens):
        if token.upper == "AS":
            return None
        if token.upper == "TO" and index + 1 < len(tokens):
            first = tokens[index + 1].text.strip('`"')
            qualified = index + 3 < len(tokens) and tokens[index + 2].text == "."
            return (first, tokens[index + 3].text.strip('`"')) if qualified else (database, first)
    return None
