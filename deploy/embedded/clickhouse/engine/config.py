"""Writes the engine's configuration files from the templates beside this module."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Template
from xml.sax.saxutils import escape

from ddl.quoting import quote_string
from deploy.embedded.clickhouse.endpoint import NO_SINKS, SINKS, TOKEN_HEADER, Address
from deploy.embedded.clickhouse.errors import NodeStartError

_TEMPLATE = Path(__file__).with_name("node-config.xml")
_USERS_TEMPLATE = Path(__file__).with_name("node-users.xml")
_USERS_FILE = "node-users.xml"
_MIB = 1 << 20
_TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\.[A-Za-z_][A-Za-z0-9_]*|[A-Za-z_][A-Za-z0-9_]*\*\.\*")


@dataclass(frozen=True)
class Limits:
    """Limits of a node.

    Attributes:
        max_memory_mb: memory of all queries and caches together, MiB.
        deduplication_window: how many inserts each table remembers, to recognise a repeated one.
    """

    max_memory_mb: int = 1024
    deduplication_window: int = 100_000


def write(
    path: Path,
    limits: Limits,
    analyst_tables: Sequence[str] = (),
    listed_tables: Sequence[str] = (),
    sinks: Address = NO_SINKS,
) -> Path:
    """Write the configuration file and, beside it, the file of users and grants; only their owner can read them.

    Returns the path of the configuration file.

    Args:
        path: the file to write.
        limits: the node's limits.
        analyst_tables: the tables that the analyst may read, each `database.table`, or `prefix*.*` for all tables of
            the databases whose names begin so.
        listed_tables: which of them SHOW TABLES lists, each `database.table`. If it names none of a database, all of
            them are listed.
        sinks: the address to which Kafka sinks post their inserts.

    Raises:
        OSError: a file cannot be written.
        NodeStartError: an analyst table is not of these forms, or a listed one is no analyst table.
    """
    if wrong := [table for table in analyst_tables if not _TABLE.fullmatch(table)]:
        raise NodeStartError(
            f"--analyst-table {wrong[0]!r} is not database.table (letters, digits and _ in each part) or prefix*.*"
        )
    if wrong := [table for table in listed_tables if table not in analyst_tables]:
        raise NodeStartError(f"--listed-table {wrong[0]!r} is no --analyst-table: name it there, too")
    grants = "\n".join(f"                <query>GRANT SELECT ON {table}</query>" for table in analyst_tables)
    users = path.with_name(_USERS_FILE)
    listed_databases = sorted({table.split(".")[0] for table in listed_tables})
    _fill(
        _USERS_TEMPLATE,
        users,
        analyst_grants=grants,
        listed_databases=_literals(listed_databases),
        listed_tables=_literals(listed_tables),
        sinks=SINKS,
    )
    _fill(
        _TEMPLATE,
        path,
        users_file=escape(str(users)),
        max_memory_bytes=limits.max_memory_mb * _MIB,
        deduplication_window=limits.deduplication_window,
        sinks=SINKS,
        sinks_url=escape(sinks.url),
        token_header=TOKEN_HEADER,
        sinks_token=sinks.token,
    )
    return path


def _literals(names: Sequence[str]) -> str:
    return ", ".join(map(quote_string, names))


def _fill(template: Path, target: Path, **values: object) -> None:
    text = Template(template.read_text(encoding="utf-8")).substitute(**values)
    target.unlink(missing_ok=True)  # replaces a link instead of following it
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w") as file:
        file.write(text)
