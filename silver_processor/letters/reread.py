"""Dead letters that Bronze could not read, read again from the raw message by today's parsers."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from producers.exchanges import REGISTRY
from producers.exchanges.model import Control, Parsed, Trades
from schemas.reasons import MEANINGS, Reason

FROM_BRONZE = frozenset(reason.value for reason, meaning in MEANINGS.items() if meaning.layer == "bronze")
# What Bronze takes of a field (ddl/0002_bronze.sql).
_LONGEST_FIELD = 256
# Bronze's columns → members of the envelope.
_FIELDS = {
    "symbol": "symbol",
    "trade_id": "trade_id",
    "price_text": "price",
    "quantity_text": "quantity",
    "timestamp_raw": "timestamp",
    "side": "side",
    "sequence": "sequence",
    "kind": "kind",
    "matches": "matches",
}
_BARE = ("symbol", "trade_id", "price_text", "quantity_text", "timestamp_raw")


@dataclass(frozen=True, slots=True)
class Read:
    """What a raw message holds: Bronze's text columns and `exchange`, or (empty) in `why` what keeps it a reject."""

    columns: Mapping[str, str] = field(default_factory=dict)
    why: str = ""


def reread(message: bytes, exchange: str, longest_message: int) -> Read:
    """The trade of a raw message (the Kafka message's value, whole) as its producer would publish it today.

    `exchange`: of the dead letter, where the message names none. One raw message is one row of Silver at most, so a
    frame that today's parser finds several trades in stays a reject.
    """
    if len(message) > longest_message:
        return Read(why=f"still longer than MEDALLION_MAX_MESSAGE_BYTES ({longest_message:,})")
    try:
        # Numbers keep their characters.
        envelope = json.loads(message, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return Read(why="the raw message is no JSON")
    if not isinstance(envelope, dict):
        return Read(why="the raw message is no JSON object")
    columns = {column: _text(envelope.get(name)) for column, name in _FIELDS.items()}
    columns["exchange"] = _text(envelope.get("exchange")) or exchange
    if not any(columns[name] for name in _BARE):
        found = _parsed(columns["exchange"], envelope)
        if found.why:
            return found
        columns |= found.columns
    longest = max(columns, key=lambda name: len(columns[name].encode()))
    if len(columns[longest].encode()) > _LONGEST_FIELD:
        return Read(why=f"{longest} is still longer than {_LONGEST_FIELD} bytes")
    return Read(columns)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _parsed(exchange: str, envelope: Mapping[str, Any]) -> Read:
    module = REGISTRY.get(exchange)
    if module is None:
        return Read(why=f"no parser for {exchange or 'no exchange'}")
    payload = _text(envelope.get("payload"))
    try:
        frame = base64.b64decode(payload, validate=True) if envelope.get("payload_encoding") else payload.encode()
    except (binascii.Error, UnicodeEncodeError):
        return Read(why="the payload is not what its encoding says")
    return _trade(module.parse, frame)


def _trade(parse: Callable[[bytes], Parsed], frame: bytes) -> Read:
    parsed = parse(frame)
    if isinstance(parsed, Control):
        return Read(why=f"a control message ({parsed.kind}) by today's parser: it holds no trade")
    if not isinstance(parsed, Trades):
        return Read(why="today's parser does not recognise it either")
    if len(parsed.records) > 1:
        return Read(
            why=f"holds {len(parsed.records)} trades by today's parser, and one raw message is one row: send the frame "
            "with `medallion replay`"
        )
    (trade,) = parsed.records
    return Read({column: getattr(trade, name) for column, name in _FIELDS.items()})


def whole(payload: str, encoding: str, size: int) -> bytes | None:
    """The raw message a dead letter carries, or None where it carries only its beginning (or nothing).

    `size`: bytes of the message.
    """
    message = base64.b64decode(payload) if encoding == "base64" else payload.encode()
    return message if size and len(message) == size else None


def cannot(reason: str) -> str:
    """Why a letter of this reason is not about a raw message; "" where it is."""
    if reason == Reason.BRONZE_UNREADABLE:
        return "about a Bronze message: its raw messages are in Bronze, `medallion rederive` brings them through"
    return ""
