"""Whether a file is a recording of an exchange, told by its first lines, and if not, what it seems to be. No I/O."""

from __future__ import annotations

import codecs
from collections.abc import Callable, Iterable

import msgspec

from producers.exchanges import REGISTRY
from producers.exchanges.model import Parsed, Trades, Unrecognised
from producers.exchanges.tokens import elements

#: So many messages without one that is known are no recording; fewer are, unless one of the signs below is there.
MOST_LINES = 20
_MOST_BYTES = 8 << 20
_PACKED = {
    b"PK": "a zip file: unzip it first",
    b"\x28\xb5\x2f\xfd": "packed by zstd: unpack it first",
    b"BZh": "packed by bzip2: unpack it first",
    b"\xfd7zXZ": "packed by xz: unpack it first",
}


def why_not(messages: Iterable[bytes], code: str, parse: Callable[[bytes], Parsed]) -> str:
    """What speaks against a recording of the exchange `code`, and what to do; "" where nothing does.

    Only the first messages are looked at. `parse` is the exchange's.
    """
    seen: list[bytes] = []
    size = 0
    for message in messages:
        if not isinstance(parse(message), Unrecognised):
            return ""
        seen.append(message)
        size += len(message)
        if len(seen) == MOST_LINES or size > _MOST_BYTES:
            break
    if not seen:
        return ""
    sign = _packing(seen[0]) or next((found for one in seen if (found := _sign(one, parse))), "")
    if not sign and len(seen) == MOST_LINES:
        sign = f"another kind of file: none of its first {MOST_LINES} lines is a message of {code}"
    return sign


def _packing(first: bytes) -> str:
    for magic, sign in _PACKED.items():
        if first.startswith(magic):
            return sign
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in first[:64]:
        return "UTF-16, or no text: save it as UTF-8"
    if first.strip() in {b"{", b"["}:
        return "pretty-printed: write each message on a line of its own (`jq -c .`)"
    return ""


def _sign(message: bytes, parse: Callable[[bytes], Parsed]) -> str:
    def is_known(content: bytes) -> bool:
        return not isinstance(parse(content), Unrecognised)

    if b"\r" in message and is_known(message.partition(b"\r")[0]):
        return "lines that end with CR alone: write LF (`tr '\\r' '\\n'`)"
    start = min((at for at in (message.find(b"{"), message.find(b"[")) if at > 0), default=0)
    if start and is_known(message[start:]):
        return f"messages behind other text ({message[:start][:40]!r}): cut it off (`sed 's/^[^{{[]*//'`)"
    if any(is_known(element) for element in _elements(message)):
        return "a JSON array: write each message on a line of its own (`jq -c .[]`)"
    others = [other.code for other in REGISTRY.values() if isinstance(other.parse(message), Trades)]
    if others:
        return f"messages of {' or '.join(others)}: name the exchange with --exchange"
    return ""


def _elements(message: bytes) -> list[bytes]:
    try:
        return [bytes(element) for element in elements(msgspec.Raw(message))]
    except (msgspec.DecodeError, RecursionError):
        return []
