"""Values and names as ClickHouse SQL, where the engine takes no parameter: table functions, DDL, `SET`, `USE`.

Everywhere else values go in as parameters (`{name:Type}`), which the server puts in place.
"""

from __future__ import annotations

# No path of a warehouse may have these: ClickHouse takes them for a pattern, a URL ends at them. No quoting helps.
UNREADABLE = frozenset("*?{}[]\\#")


def quote_string(value: str) -> str:
    """A string literal of any text."""
    return "'" + _escaped(value, "'") + "'"


def quote_name(value: str) -> str:
    """A quoted identifier; of what the server takes as one, which an empty name is not."""
    return "`" + _escaped(value, "`") + "`"


def _escaped(value: str, quote: str) -> str:
    # A byte 0 would end the statement where it is passed as a C string.
    return value.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\0", "\\0")
