"""Text of strangers as a person may see it: what steers a terminal or hides in the text is shown as an escape."""

from __future__ import annotations

import json
import re
import sys
import unicodedata

# Control characters (Cc: NUL, ESC, the C1 codes), format characters (Cf: direction overrides, zero widths, tags),
# lone surrogates (Cs), and line and paragraph separators (Zl, Zp): https://www.unicode.org/reports/tr44/.
_HIDDEN_CATEGORIES = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_HIDDEN = "".join(
    re.escape(character)
    for character in map(chr, range(sys.maxunicode + 1))
    if unicodedata.category(character) in _HIDDEN_CATEGORIES and character not in "\n\t"
)
_IN_A_TEXT = re.compile(f"[{_HIDDEN}]")
_IN_A_LINE = re.compile(f"[{_HIDDEN}\n\t]")


def visible(text: str) -> str:
    """`text` with every control, direction and hidden character as an escape, line ends and tabs as they are."""
    return text if text.isascii() and text.isprintable() else _IN_A_TEXT.sub(_escape, text)


def visible_line(text: str) -> str:
    """As `visible`, for text that must stay one line: line ends and tabs are escapes too."""
    return text if text.isascii() and text.isprintable() else _IN_A_LINE.sub(_escape, text)


def has_hidden(text: str) -> bool:
    """Whether `visible_line` would change the text."""
    return visible_line(text) != text


def visible_json(document: str) -> str:
    """The same JSON value, its hidden characters as JSON's own escapes."""
    return document if document.isascii() else _IN_A_TEXT.sub(_escape_json, document)


def _escape_json(match: re.Match[str]) -> str:
    return json.dumps(match[0])[1:-1]


def _escape(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", errors="surrogatepass").decode("ascii")
