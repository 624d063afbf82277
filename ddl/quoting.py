"""Values and names quoted for ClickHouse SQL, where it accepts no parameter: table functions, DDL, `SET`, `USE`.

Everywhere else values are passed as parameters (`{name:Type}`).
"""

from __future__ import annotations

# Not allowed in the path of a warehouse: ClickHouse reads them as a pattern, or a URL ends there. Quoting does not
# help.
UNREADABLE = frozenset("*?{}[]\\#")


def quote_string(value: str) -> str:
    """Any text as a string literal."""
    return "'" + _escaped(value, "'") + "'"


def quote_name(value: str) -> str:
    """A name as a quoted identifier. The server refuses an empty one."""
    return "`" + _escaped(value, "`") + "`"


def _escaped(value: str, quote: str) -> str:
    # A zero byte would end the statement in code that passes it as a C string.
    return value.replace("\\", "\\\\").replace(quote, f"\\{quote}").replace("\0", "\\0")
