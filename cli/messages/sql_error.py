"""Shortens ClickHouse's message about a wrong statement to one line, which says where the statement is wrong."""

from __future__ import annotations

import re

from rich.cells import cell_len

# The message of any server version: `Code: 47. DB::Exception: <words> (UNKNOWN_IDENTIFIER) (version …)`.
_ANSWER = re.compile(
    r"(?:Code: (?P<code>\d+)\. DB::Exception: )+(?P<words>.*?)(?:\. ?| )?"
    r"(?:\((?P<name>[A-Z][A-Z0-9_]+)\))? ?(?:\(version .*\))?",
    re.DOTALL,
)
# Positions count bytes of the statement, from 1.
_UNMATCHED = re.compile(r"Unmatched parentheses: (?P<what>'.') at position (?P<at>\d+)")
_FAILED = re.compile(r"failed at position (?P<at>\d+) \((?P<what>.*?)\)(?= \(line|: |\. |$)", re.DOTALL)
_MEANT = re.compile(r"Maybe you meant:? [^.\n]*[^.\n?]\??")
# After this a message quotes the statement, or lists tokens of the grammar.
_REST = re.compile(r":? In scope |\.? Expected one of|: while executing|\n")
_QUOTED = re.compile(r"`([^`]+)`|'([^']+)'")
_WIDEST = 100


def brief(answer: str, sql: str) -> str:
    """The error in one line, then, if the message has the place, the line of `sql` with a mark below it.

    A message of another form is returned whole.
    """
    found = _ANSWER.fullmatch(answer)
    if found is None:
        return answer
    words, place = _read(found["words"], sql)
    name = f"{found['name']}, code {found['code']}" if found["name"] else f"code {found['code']}"
    if place is None:
        return f"{words} ({name})"
    before = sql[:place].replace("\r", "\n")
    line, column = before.count("\n") + 1, place - (before.rfind("\n") + 1) + 1
    return f"{words} ({name}), line {line}, column {column}:\n{_marked(sql, place)}"


def _read(words: str, sql: str) -> tuple[str, int | None]:
    """The words of the first line, and where in `sql` they point (an index of its characters)."""
    if unmatched := _UNMATCHED.search(words):
        return f"Syntax error: {unmatched['what']} is never closed", _index(sql, int(unmatched["at"]))
    meant = _MEANT.search(words)
    advice = f". {meant.group()}" if meant else ""
    if failed := _FAILED.search(words):
        place = _index(sql, int(failed["at"]))
        if place is None:
            return f"Syntax error: the statement ends too early{advice}", len(sql.rstrip())
        return f"Syntax error at {failed['what'].splitlines()[0]!r}{advice}", place
    first_line = _REST.split(words)[0].rstrip(". ")
    return first_line, _named(first_line, sql)


def _index(sql: str, position: int) -> int | None:
    """The index of the character at a byte position; None after the end, where a server has added text."""
    content = sql.encode()
    return len(content[: position - 1].decode(errors="ignore")) if position <= len(content.rstrip()) else None


def _named(words: str, sql: str) -> int | None:
    """The index in the statement of the first name that the words quote and the statement has."""
    for quoted in _QUOTED.finditer(words):
        if found := re.search(rf"(?<!\w){re.escape(quoted[1] or quoted[2])}(?!\w)", sql):
            return found.start()
    return None


def _marked(sql: str, place: int) -> str:
    """The line of `sql` with the place, at most `_WIDEST` characters of it, and a mark below."""
    start = max(sql.rfind("\n", 0, place) + 1, place - _WIDEST // 2)
    end = sql.find("\n", place)
    line = sql[start : len(sql) if end < 0 else end][:_WIDEST]
    shown = "".join(character if character.isprintable() else " " for character in line)
    return f"  {shown}\n  {' ' * cell_len(shown[: place - start])}^"
