"""The id that a client gives its query, as `system.processes` and KILL QUERY know it on a server.

The engine inside a process gives every query an id of its own and takes none. So the client's goes into the tag of its
session, and a statement that asks for the ids of queries is made to read the tag.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deploy.embedded.clickhouse.sql.statements import Kind, Statement
from deploy.embedded.clickhouse.sql.tokens import Token, scan

# A setting that names the engine session in system.processes, so that its query can be found and killed. chDB knows no
# custom settings; this one means nothing while the query cache is off.
SESSION_SETTING = "query_cache_tag"
_SESSION_ID_CHARACTERS = 32
_TAG = f"Settings['{SESSION_SETTING}']"
_GIVEN = f"substring({_TAG}, {_SESSION_ID_CHARACTERS + 2})"
_ID = f"if({_GIVEN} = '', query_id, {_GIVEN})"
_PROCESSES = f"(SELECT * REPLACE ({_ID} AS query_id, {_ID} AS initial_query_id) FROM system.processes)"  # noqa: S608 - our own names
_BEFORE_A_TABLE = frozenset({"FROM", "JOIN", ","})
# Words after a table that are no alias of it.
_AFTER_A_TABLE = frozenset(
    {
        *("ALL", "ANTI", "ANY", "ARRAY", "ASOF", "CROSS", "EXCEPT", "FETCH", "FINAL", "FORMAT", "FULL", "GLOBAL"),
        *("GROUP", "HAVING", "INNER", "INTERSECT", "INTO", "JOIN", "LEFT", "LIMIT", "OFFSET", "ON", "ORDER", "PASTE"),
        *("PREWHERE", "QUALIFY", "RIGHT", "SAMPLE", "SEMI", "SETTINGS", "UNION", "USING", "WHERE", "WINDOW", "WITH"),
    }
)


def tag(session_id: str, query_id: str) -> str:
    """What the tag of a session is while a query with an id of its client's runs."""
    return f"{session_id} {query_id}"


def running(session_id: str) -> str:
    """The condition on `system.processes` for what a session runs; a session's id is a hexadecimal UUID."""
    return f"startsWith({_TAG}, '{session_id}')"


def with_clients_ids(statement: Statement) -> Statement:
    """The statement as the client means it: ids of queries are those that clients gave."""
    if statement.words[0] == "KILL":
        return replace(statement, sql=_replaced(statement.sql, ("query_id",), lambda *_: f"({_ID})"))
    if "processes" not in statement.sql or statement.kind is not Kind.READ:
        return statement
    return replace(statement, sql=_replaced(statement.sql, ("system", ".", "processes"), _as_table))


def _as_table(before: Token | None, after: Token | None) -> str | None:
    """What stands for `system.processes` between two tokens; None where it is no table of a query."""
    if after is not None and after.text == ".":  # a column of it
        return "processes"
    if before is None or before.upper not in _BEFORE_A_TABLE:
        return None
    has_alias = after is not None and (after.upper == "AS" or (bool(after.name) and after.upper not in _AFTER_A_TABLE))
    return _PROCESSES if has_alias else f"{_PROCESSES} AS processes"


def _replaced(sql: str, name: tuple[str, ...], by: Callable[[Token | None, Token | None], str | None]) -> str:
    """The text with every place where these tokens stand next to each other replaced, where `by` says by what."""
    tokens, parts, copied = list(scan(sql)), [], 0
    for index in range(len(tokens) - len(name) + 1):
        found, end = tokens[index : index + len(name)], index + len(name)
        if tuple(map(_name, found)) != name or (index and tokens[index - 1].text == "."):
            continue
        instead = by(tokens[index - 1] if index else None, tokens[end] if end < len(tokens) else None)
        if instead is None:
            continue
        parts += [sql[copied : found[0].start], instead]
        copied = found[-1].end
    return "".join([*parts, sql[copied:]])


def _name(token: Token) -> str:
    return token.name or token.text
