"""JSON values as the characters they were sent in: a number is never re-printed."""

from __future__ import annotations

from msgspec import Raw
from msgspec.json import Decoder

#: Stands for a key that the message does not have.
ABSENT = Raw(b"")

_string = Decoder(str)
_elements = Decoder(list[Raw])
_fields = Decoder(dict[str, Raw])


def token(raw: Raw) -> str:
    """The raw JSON token; "" for a key that is not there.

    Raises:
        UnicodeDecodeError: the token is not UTF-8.
    """
    return str(raw, "utf-8")


def text(raw: Raw) -> str:
    """The value of a JSON string, the token of any other value, "" for null and for a key that is not there.

    Raises:
        UnicodeDecodeError: the token is not UTF-8.
        msgspec.DecodeError: a string with an escape that stands for no character.
    """
    value = token(raw)
    if value[:1] == '"':
        return value[1:-1] if "\\" not in value else _string.decode(raw)
    return "" if value == "null" else value


def flagged(*flags: tuple[str, Raw, str]) -> str:
    """The kind of a trade by its flags (name, value, the kind where it is `true`), the first that is set.

    "" where none is. A value that is no flag gives the name and the value: no kind, so that somebody looks at it.
    """
    for name, value, kind in flags:
        said = token(value)
        if said == "true":
            return str(kind)
        if said not in {"", "false", "null"}:
            return f"{name}={said}"
    return ""


def elements(raw: Raw) -> list[Raw]:
    """The elements of a JSON array, each as its verbatim slice of the frame.

    Raises:
        msgspec.DecodeError: it is no array.
    """
    return _elements.decode(raw)


def fields(message: Raw | bytes) -> dict[str, Raw]:
    """The members of a JSON object (the last of a repeated key), each as its verbatim slice.

    Raises:
        msgspec.DecodeError: it is no object.
    """
    return _fields.decode(message)


def members(raw: Raw) -> dict[str, Raw]:
    """As `fields`; {} for what is no object, or not there.

    Raises:
        msgspec.DecodeError: it is broken JSON.
    """
    return fields(raw) if token(raw).lstrip()[:1] == "{" else {}


def counter(raw: Raw) -> int | None:
    """A whole number from 0 on, also one that is sent as a string; None for anything else.

    Raises:
        as `text`.
    """
    value = text(raw)
    return int(value) if value.isascii() and value.isdigit() and len(value) <= 18 else None
