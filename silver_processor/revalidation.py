"""Validates dead letters again: parses their raw messages by today's parsers, and applies today's rules."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pyarrow as pa

from producers.exchanges import REGISTRY
from producers.exchanges.model import Control, Parsed, Trades
from schemas.coordinates import COORDINATES
from schemas.reasons import MEANINGS, Reason
from schemas.records import BRONZE
from silver_processor.core.refine import refine
from silver_processor.core.rules import Rules
from silver_processor.core.versions import ABOUT_VERSIONS

# In place of a reason: the message passes the rules.
PASSES = ""
# Reasons that Bronze gives. Parsing the raw message again can remove them.
FROM_BRONZE = frozenset(reason.value for reason, meaning in MEANINGS.items() if meaning.layer == "bronze")
# Bronze refuses a longer field (ddl/0002_bronze.sql).
_MAX_FIELD_BYTES = 256
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
_TRADE_FIELDS = ("symbol", "trade_id", "price_text", "quantity_text", "timestamp_raw")


@dataclass(frozen=True, slots=True)
class ParsedAgain:
    """A raw message, parsed again: Bronze's text columns and `exchange`; or no columns, and why not in `why`."""

    columns: Mapping[str, str] = field(default_factory=dict)
    why: str = ""


def parse_again(message: bytes, exchange: str, longest_message: int) -> ParsedAgain:
    """Parse a raw message (the whole value of the Kafka message) as its producer would publish it today.

    `exchange`: used for a message that names none. `longest_message`: in bytes. A raw message becomes at most one row
    of Silver, so a frame in which today's parser finds several trades stays a dead letter.
    """
    if len(message) > longest_message:
        return ParsedAgain(why=f"still longer than MEDALLION_MAX_MESSAGE_BYTES ({longest_message:,})")
    try:
        # Numbers keep their digits as text.
        envelope = json.loads(message, parse_int=str, parse_float=str, parse_constant=str)
    except (ValueError, RecursionError):
        return ParsedAgain(why="the raw message is no JSON")
    if not isinstance(envelope, dict):
        return ParsedAgain(why="the raw message is no JSON object")
    columns = {column: _text(envelope.get(name)) for column, name in _FIELDS.items()}
    columns["exchange"] = _text(envelope.get("exchange")) or exchange
    if not any(columns[name] for name in _TRADE_FIELDS):
        parsed = _parsed(columns["exchange"], envelope)
        if parsed.why:
            return parsed
        columns |= parsed.columns
    longest = max(columns, key=lambda name: len(columns[name].encode()))
    if len(columns[longest].encode()) > _MAX_FIELD_BYTES:
        return ParsedAgain(why=f"{longest} is still longer than {_MAX_FIELD_BYTES} bytes")
    return ParsedAgain(columns)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _parsed(exchange: str, envelope: Mapping[str, Any]) -> ParsedAgain:
    module = REGISTRY.get(exchange)
    if module is None:
        return ParsedAgain(why=f"no parser for {exchange or 'no exchange'}")
    payload = _text(envelope.get("payload"))
    try:
        frame = base64.b64decode(payload, validate=True) if envelope.get("payload_encoding") else payload.encode()
    except (binascii.Error, UnicodeEncodeError):
        return ParsedAgain(why="the payload does not match its encoding")
    return _trade(module.parse, frame)


def _trade(parse: Callable[[bytes], Parsed], frame: bytes) -> ParsedAgain:
    parsed = parse(frame)
    if isinstance(parsed, Control):
        return ParsedAgain(why=f"today's parser reads a control message ({parsed.kind}), which holds no trade")
    if not isinstance(parsed, Trades):
        return ParsedAgain(why="today's parser does not recognise the frame either")
    if len(parsed.records) > 1:
        return ParsedAgain(
            why=f"today's parser finds {len(parsed.records)} trades, but one raw message becomes one row: "
            "send the frame with `medallion replay`"
        )
    (trade,) = parsed.records
    return ParsedAgain({column: getattr(trade, name) for column, name in _FIELDS.items()})


def whole(payload: str, encoding: str, size: int) -> bytes | None:
    """The raw message in a dead letter; None if the dead letter has only its beginning, or nothing.

    `payload` and `encoding` are those of the dead letter. `size`: bytes of the raw message.
    """
    message = base64.b64decode(payload) if encoding == "base64" else payload.encode()
    return message if size and len(message) == size else None


def cannot(reason: str) -> str:
    """Why a dead letter with this reason cannot be parsed again; "" if it can be."""
    if reason == Reason.BRONZE_UNREADABLE:
        return "about a Bronze message: its raw messages are in Bronze, `medallion rederive` brings them through"
    return ""


@dataclass(frozen=True, slots=True)
class Revalidated:
    """The verdicts on dead letters.

    `verdicts`: one row for each dead letter, in order, with the reason `before` and the reason `after` (or `PASSES`).
    `passing`: the rows that pass, with all their columns and `canonical` (Silver's symbol).
    """

    verdicts: pl.DataFrame
    passing: pa.Table


def revalidate(dead_letters: pa.Table, rules: Rules) -> Revalidated:
    """Validate dead letters by `rules`, as the worker validates their Bronze rows.

    `dead_letters` has the columns of `BRONZE`, `reason` and any others, one row for each raw message. The value of
    `defect` is not checked: where `parse_again` could remove the defect, call it first.
    """
    rows = pl.DataFrame(dead_letters)
    # The rules decide neither about a Bronze message as a whole nor about a trade of which Silver has another version.
    known = rows.filter(~pl.col("reason").is_in([Reason.BRONZE_UNREADABLE.value, *ABOUT_VERSIONS]))
    refined = refine(known.select(BRONZE.names).to_arrow().cast(BRONZE), rules)
    place = [pl.col(name).cast(rows.schema[name]) for name in COORDINATES]
    valid = pl.DataFrame(refined.valid).select(*place, canonical="symbol", after=pl.lit(PASSES))
    rejected = pl.DataFrame(refined.rejects).select(
        *place, canonical=pl.lit(None, pl.String), after=pl.col("reason").cast(pl.String)
    )
    validated = rows.join(pl.concat([valid, rejected]), on=COORDINATES, how="left", maintain_order="left")
    verdicts = validated.select(pl.col("reason").alias("before"), pl.col("after").fill_null(pl.col("reason")))
    return Revalidated(verdicts, validated.filter(pl.col("after") == PASSES).drop("after").to_arrow())
