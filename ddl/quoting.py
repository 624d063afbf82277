"""Values and names quoted for ClickHouse SQL, where it accepts no parameter: table functions, DDL, `SET`, `USE`.

Everywhere else values are passed as parameters (`{name:Type}`).
"""

from __future__ import annotations

# Not allowed in the path of a warehouse, and quoting does not help: ClickHouse reads them as a pattern (a comma, where
# braces list files) or as a file in an archive (`::`), or a URL ends there.
UNREADABLE = ("*", "?", "{", "}", "[", "]", "\\", "#", ",", "::")


def unreadable(path: str) -> list[str]:
    """What of `UNREADABLE` a path has."""
    return [mark for mark in UNREADABLE if mark in path]


def quote_string(value: str) -> str:
    """Any text as a string literal."""
    return "'" + _escaped(value, "'") + "'"


def quote_name(value: str) -> str:
    """A name as a quoted identifier. The server refuses an empty one."""
    return "`" + _escaped(value, "`") + "`"


def _escaped(value: str, quote: str) -> str:
    # A zero byte would end the statement in code that passes it as a C string.
    return value.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\0", "\\0")
