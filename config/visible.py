"""Makes foreign text safe to show: characters that steer a terminal or are invisible become escapes."""

from __future__ import annotations

import json
import re
import unicodedata

# Control characters (Cc: NUL, ESC, the C1 codes), format characters (Cf: direction overrides, zero widths, tags),
# lone surrogates (Cs), and line and paragraph separators (Zl, Zp): https://www.unicode.org/reports/tr44/.
_HIDDEN_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
# Only characters beyond printable ASCII are looked up, one by one: a table of all of Unicode takes a while to make.
_IN_A_TEXT = re.compile(r"[^ -~\n\t]")
_IN_A_LINE = re.compile(r"[^ -~]")


def visible(text: str) -> str:
    """`text` with every control, direction and hidden character as an escape, line ends and tabs as they are."""
    return text if text.isascii() and text.isprintable() else _IN_A_TEXT.sub(_escape, text)


def visible_line(text: str) -> str:
    """As `visible`, for text that must stay one line: line ends and tabs are escapes too."""
    return text if text.isascii() and text.isprintable() else _IN_A_LINE.sub(_escape, text)


def visible_json(document: str) -> str:
    """The same JSON value, its hidden characters as JSON's own escapes."""
    return _IN_A_TEXT.sub(_escape_json, document)


def _escape_json(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1] if _is_hidden(match[0]) else match[0]


def _escape(match: re.Match[str]) -> str:
    character = match[0]
    if not _is_hidden(character):
        return character
    return character.encode("unicode_escape", errors="surrogatepass").decode("ascii")


def _is_hidden(character: str) -> bool:
    return unicodedata.category(character) in _HIDDEN_CATEGORIES
