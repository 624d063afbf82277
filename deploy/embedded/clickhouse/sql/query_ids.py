"""Makes `system.processes` and KILL QUERY know a query by the id that its client gave, as a server does.

chDB gives every query an id of its own and takes none from outside. So the client's id is a part of its session's tag,
and a statement that asks for ids of queries is changed to read the tag.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from deploy.embedded.clickhouse.sql.statements import Kind, Statement
from deploy.embedded.clickhouse.sql.tokens import Token, scan

# The setting that holds the tag. system.processes shows it, so a session's query can be found and killed. chDB has no
# custom settings; this one has no effect while the query cache is off.
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
    """The tag of a session while it runs a query to which the client gave an id."""
    return f"{session_id} {query_id}"


def running(session_id: str) -> str:
    """The condition on `system.processes` for the queries of a session. `session_id` is a hexadecimal UUID."""
    return f"startsWith({_TAG}, '{session_id}')"


def with_clients_ids(statement: Statement) -> Statement:
    """The statement, changed so that ids of queries are those that the clients gave."""
    if statement.words[0] == "KILL":
        return replace(statement, sql=_replaced(statement.sql, ("query_id",), lambda *_: f"({_ID})"))
    if "processes" not in statement.sql or statement.kind is not Kind.READ:
        return statement
    return replace(statement, sql=_replaced(statement.sql, ("system", ".", "processes"), _as_table))


def _as_table(before: Token | None, after: Token | None) -> str | None:
    """What replaces `system.processes` between two tokens; None if it is no table of a query there."""
    if after is not None and after.text == ".":  # a column of it
        return "processes"
    if before is None or before.upper not in _BEFORE_A_TABLE:
        return None
    has_alias = after is not None and (after.upper == "AS" or (bool(after.name) and after.upper not in _AFTER_A_TABLE))
    return _PROCESSES if has_alias else f"{_PROCESSES} AS processes"


def _replaced(sql: str, name: tuple[str, ...], by: Callable[[Token | None, Token | None], str | None]) -> str:
    """Replace every place in a text where these tokens follow each other.

    `by` gets the token before and the token after, and returns the new text; None leaves the place as it is.
    """
    tokens, parts, copied = list(scan(sql)), [], 0
    for index in range(len(tokens) - len(name) + 1):
        found, end = tokens[index : index + len(name)], index + len(name)
        if tuple(map(_name, found)) != name or (index and tokens[index - 1].text == "."):
            continue
        new = by(tokens[index - 1] if index else None, tokens[end] if end < len(tokens) else None)
        if new is None:
            continue
        parts += [sql[copied : found[0].start], new]
        copied = found[-1].end
    return "".join([*parts, sql[copied:]])


def _name(token: Token) -> str:
    return token.name or token.text
