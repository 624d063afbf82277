"""Quotes values and names for ClickHouse SQL that accepts no parameters: table functions, DDL, `SET`, `USE`.

All other values are passed as parameters (`{name:Type}`).
"""

from __future__ import annotations

# Texts that must not be in the path of a warehouse, even quoted: ClickHouse reads them as a pattern (a comma is one,
# because braces list files), or as a file in an archive (`::`), and a URL ends at `#`. From a URL, `urllib` takes tabs
# and line ends away, so that the files would lie in another folder.
UNREADABLE = ("*", "?", "{", "}", "[", "]", "\\", "#", ",", "::", "\t", "\n", "\r")


def unreadable(path: str) -> list[str]:
    """The texts of `UNREADABLE` that a path has."""
    return [mark for mark in UNREADABLE if mark in path]


def quote_string(value: str) -> str:
    """A text as a string literal."""
    return "'" + _escaped(value, "'") + "'"


def quote_name(value: str) -> str:
    """A name as a quoted identifier. The server refuses an empty one."""
    return "`" + _escaped(value, "`") + "`"


def _escaped(value: str, quote: str) -> str:
    # A zero byte would end the statement in code that passes it as a C string.
    return value.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\0", "\\0")
