"""Splits SQL text into tokens, without comments and white space, in one pass over any text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from deploy.embedded.clickhouse.errors import SYNTAX_ERROR, refusal

# The rules of ClickHouse's lexer (src/Parsers/Lexer.cpp). If the two differed, a name could pass the policy as text.
# Quoted text escapes with \ or a doubled quote; typographic quotes do not escape. Every loop is possessive, so no text
# makes the pattern backtrack. The fraction of a number is not: Python 3.11.2 keeps what a possessive group has read
# of a text before it fails (CPython gh-100061).
_TOKEN = re.compile(
    r"""(?P<skip>[\s\x00\u200b-\u200d\u2060\ufeff]++|--[^\n]*+|//[^\n]*+|\#[!\ ][^\n]*+)
      | (?P<string>'(?:[^'\\]|\\.|'')*+'|\u2018[^\u2019]*+\u2019|[xXbB]'[0-9A-Fa-f]*+')
      | (?P<quoted>"(?:[^"\\]|\\.|"")*+"|`(?:[^`\\]|\\.|``)*+`|\u201c[^\u201d]*+\u201d)
      | (?P<word>[A-Za-z_][A-Za-z0-9_$]*+)
      | (?P<number>[0-9][A-Za-z0-9_]*+(?:\.[0-9]++)?)
      | (?P<open>/\*|\$|['"`\u2018\u201c])
      | (?P<sign>.)""",
    re.DOTALL | re.VERBOSE,
)
_DOLLAR_WORD = re.compile(r"\$[A-Za-z0-9_][A-Za-z0-9_$]*+")
# For each of them, the rest of the text may have to be searched.
_MOST_DOLLAR_WORDS = 100
_COMMENT_EDGE = re.compile(r"/\*|\*/")
_ESCAPE = re.compile(r"\\x([0-9A-Fa-f]{2})|\\(.)|(``|\"\"|'')", re.DOTALL)
_ESCAPED = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "e": "\x1b"}


class Token(NamedTuple):
    """A token. Its `kind` is `string`, `quoted`, `word`, `number` or `sign`."""

    kind: str
    text: str
    start: int
    end: int

    @property
    def upper(self) -> str:
        """The text to compare with keywords: a word in upper case, any other token unchanged."""
        return self.text.upper() if self.kind == "word" else self.text

    @property
    def name(self) -> str:
        """The name that the token can stand for: a word, or quoted text decoded; "" for any other kind."""
        if self.kind == "word":
            return self.text
        return unquote(self.text) if self.kind == "quoted" else ""


def unquote(text: str) -> str:
    """The content of quoted text, with escapes and doubled quotes decoded."""
    return _ESCAPE.sub(_unescape, text[1:-1])


def _unescape(found: re.Match[str]) -> str:
    if found[1]:
        return chr(int(found[1], 16))
    return found[3][0] if found[3] else _ESCAPED.get(found[2], found[2])


def scan(sql: str) -> Iterator[Token]:
    """The tokens of a text, without white space and comments.

    Raises:
        EngineError: 62 if a quote or a comment does not end, or a $ can be read in two ways.
    """
    match, position, length, dollars = _TOKEN.match, 0, len(sql), 0
    while position < length:
        found = match(sql, position)
        if found is None:
            raise AssertionError(f"no token at {position}: the pattern takes any character")
        kind, end = found.lastgroup or "sign", found.end()
        if kind == "open":
            kind, end = _opened(sql, position, end)
            dollars += kind == "word"
            if dollars > _MOST_DOLLAR_WORDS:
                raise _unreadable(f"more than {_MOST_DOLLAR_WORDS} names begin with $: quote them")
        if kind != "skip":
            yield Token(kind, sql[position:end], position, end)
        position = end


def _opened(sql: str, position: int, end: int) -> tuple[str, int]:
    """Kind and end of a token that begins with `/*` or `$`. A quote gets here only if it is never closed."""
    text = sql[position:end]
    if text == "/*":
        return "skip", _comment_end(sql, end)
    if text != "$":
        raise _unreadable(f"{text} is opened and never closed")
    if position and sql[position - 1].isalnum():
        raise _unreadable("a number with $ behind it: a name has to be quoted")
    # $tag$…$tag$ is a string, with any tag. Otherwise this is a name.
    tag_end = sql.find("$", position + 1) + 1
    closing = sql.find(sql[position:tag_end], tag_end) if tag_end else -1
    if closing >= 0:
        return "string", closing + tag_end - position
    word = _DOLLAR_WORD.match(sql, position)
    if word is None:
        raise _unreadable("$ begins a text that never ends")
    return "word", word.end()


def _comment_end(sql: str, position: int) -> int:
    """Where a comment ends. It may contain other comments."""
    depth = 1
    for edge in _COMMENT_EDGE.finditer(sql, position):
        depth += 1 if edge[0] == "/*" else -1
        if depth == 0:
            return edge.end()
    raise _unreadable("a comment is not closed")


def _unreadable(reason: str) -> Exception:
    return refusal(SYNTAX_ERROR, "SYNTAX_ERROR", f"Syntax error: {reason}")
