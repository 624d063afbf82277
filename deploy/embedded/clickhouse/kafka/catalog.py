"""Reads from the engine's catalog which tables are stand-ins, and which of them a view reads."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from deploy.embedded.clickhouse.engine.engine_session import EngineSession
from deploy.embedded.clickhouse.kafka.definition import KafkaTable, KafkaTableRole, parse_kafka_table

Name = tuple[str, str]

_TABLES = """
SELECT database, name, toString(uuid), engine, comment, notEmpty(dependencies_table)
FROM system.tables
WHERE engine IN ('Null', 'URL', 'MergeTree') AND comment != '' AND NOT is_temporary
    AND database NOT IN ('system', 'information_schema', 'INFORMATION_SCHEMA')
"""
_ENGINES = {KafkaTableRole.SOURCE: "Null", KafkaTableRole.SINK: "URL"}
_OUTBOX = "MergeTree"


@dataclass(frozen=True)
class StandIn:
    """One stand-in table under its current name. Names may change; the UUID stays."""

    uuid: str
    name: Name
    table: KafkaTable


@dataclass(frozen=True)
class Catalog:
    """All stand-ins.

    Attributes:
        stand_ins: by UUID.
        fed: UUIDs of sources that a view reads. Without a view, nothing may be consumed.
        outboxes: tables in which earlier versions kept rows that a sink had not sent yet.
    """

    stand_ins: Mapping[str, StandIn]
    fed: frozenset[str]
    outboxes: tuple[StandIn, ...] = ()


def read_catalog(session: EngineSession) -> Catalog:
    """Read the engine's tables.

    Raises:
        EngineError: the engine failed.
    """
    stand_ins: dict[str, StandIn] = {}
    outboxes: list[StandIn] = []
    fed: set[Name] = set()
    for line in session.query(_TABLES, "JSONCompactEachRow").splitlines():
        database, name, uuid, engine, comment, has_views = orjson.loads(line)
        if (table := _kafka_table(comment)) is None:
            continue
        one = StandIn(uuid, (database, name), table)
        if engine == _ENGINES[table.role]:
            stand_ins[uuid] = one
        elif engine == _OUTBOX and table.role is KafkaTableRole.SINK:
            outboxes.append(one)
        if has_views:
            fed.add(one.name)
    sources = [one for one in stand_ins.values() if one.table.role is KafkaTableRole.SOURCE]
    return Catalog(stand_ins, frozenset(one.uuid for one in sources if one.name in fed), tuple(outboxes))


# Every change reads the whole catalog again, but most statements in it stay the same.
_kafka_table = functools.lru_cache(maxsize=1024)(parse_kafka_table)
