"""SQL text as its lexical elements, without comments and space."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# https://clickhouse.com/docs/sql-reference/syntax: strings escape with \ or a doubled quote; heredocs are $tag$…$tag$.
_TOKEN = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|\#[!\ ][^\n]*|/\*.*?(?:\*/|\Z))
      | (?P<string>'(?:[^'\\]|\\.|'')*'|\$(?P<tag>\w*)\$.*?\$(?P=tag)\$)
      | (?P<quoted>"(?:[^"\\]|\\.|"")*"|`(?:[^`\\]|\\.|``)*`)
      | (?P<word>[A-Za-z_]\w*)
      | (?P<number>\d[\w.]*)
      | (?P<sign>.)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True)
class Token:
    """One lexical element: `kind` is `string`, `quoted`, `word`, `number` or `sign`."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def upper(self) -> str:
        """Keywords compare in upper case."""
        return self.text.upper() if self.kind == "word" else self.text


def scan(sql: str) -> Iterator[Token]:
    """The tokens of a text, without white space and comments."""
    for found in _TOKEN.finditer(sql):
        kind = found.lastgroup
        if kind == "tag":
            kind = "string"
        if kind is not None and kind != "skip":
            yield Token(kind, found[0], found.start(), found.end())
