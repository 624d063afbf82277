"""The closed set of reason codes of rejected messages."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Layer = Literal["bronze", "silver"]


class Reason(StrEnum):
    """Why a raw message is no Silver trade. Values never change, because they are stored and counted."""

    MALFORMED_ENVELOPE = "malformed_envelope"
    MESSAGE_TOO_LARGE = "message_too_large"
    EXCHANGE_MISSING = "exchange_missing"
    EXCHANGE_UNKNOWN = "exchange_unknown"
    EMPTY_MESSAGE = "empty_message"
    MALFORMED_PAYLOAD = "malformed_payload"
    UNRECOGNISED_MESSAGE = "unrecognised_message"
    TIMESTAMP_MISSING = "timestamp_missing"
    TIMESTAMP_INVALID = "timestamp_invalid"
    DEFECT_UNKNOWN = "defect_unknown"
    SYMBOL_MISSING = "symbol_missing"
    TRADE_ID_MISSING = "trade_id_missing"
    TRADE_ID_INVALID = "trade_id_invalid"
    SYMBOL_UNMAPPED = "symbol_unmapped"
    PRICE_MISSING = "price_missing"
    PRICE_NOT_A_NUMBER = "price_not_a_number"
    PRICE_NOT_POSITIVE = "price_not_positive"
    PRICE_ABOVE_LIMIT = "price_above_limit"
    PRICE_TOO_PRECISE = "price_too_precise"
    QUANTITY_MISSING = "quantity_missing"
    QUANTITY_NOT_A_NUMBER = "quantity_not_a_number"
    QUANTITY_NOT_POSITIVE = "quantity_not_positive"
    QUANTITY_ABOVE_LIMIT = "quantity_above_limit"
    QUANTITY_TOO_PRECISE = "quantity_too_precise"
    QUOTE_VOLUME_TOO_PRECISE = "quote_volume_too_precise"
    SIDE_INVALID = "side_invalid"
    TIMESTAMP_OUT_OF_RANGE = "timestamp_out_of_range"
    SEQUENCE_INVALID = "sequence_invalid"
    KIND_UNKNOWN = "kind_unknown"
    MATCHES_INVALID = "matches_invalid"
    MATCHES_PARTLY_KNOWN = "matches_partly_known"
    BRONZE_UNREADABLE = "bronze_unreadable"
    TRADE_CONTRADICTS = "trade_contradicts"
    TRADE_SUPERSEDED = "trade_superseded"


@dataclass(frozen=True, slots=True)
class Meaning:
    """The meaning of a reason code: the DLQ record's `field`, the layer that finds it, and the rule in one line."""

    field: str
    layer: Layer
    rule: str


_AMOUNT = {
    "MISSING": "the text is empty",
    "NOT_A_NUMBER": "the text is not [+-]digits[.digits][e[+-]digits] in ASCII",
    "NOT_POSITIVE": "the value is zero or less (exclusive minimum 0)",
    "ABOVE_LIMIT": "the value is above the symbol's inclusive maximum in the registry",
    "TOO_PRECISE": "the value does not fit Decimal(38, 18) without rounding",
}

MEANINGS: dict[Reason, Meaning] = {
    Reason.MALFORMED_ENVELOPE: Meaning("envelope", "bronze", "the Kafka message is no JSON object"),
    Reason.MESSAGE_TOO_LARGE: Meaning("envelope", "bronze", "the Kafka message exceeds MEDALLION_MAX_MESSAGE_BYTES"),
    Reason.EXCHANGE_MISSING: Meaning("exchange", "silver", "the exchange code is empty"),
    Reason.EXCHANGE_UNKNOWN: Meaning("exchange", "silver", "the registry has no such exchange code"),
    Reason.EMPTY_MESSAGE: Meaning("payload", "bronze", "the payload is empty or white space"),
    Reason.MALFORMED_PAYLOAD: Meaning("payload", "bronze", "the payload is not JSON"),
    Reason.UNRECOGNISED_MESSAGE: Meaning(
        "payload", "bronze", "the payload is JSON, yet neither a trade nor a known control message"
    ),
    Reason.TIMESTAMP_MISSING: Meaning("timestamp", "bronze", "the timestamp's text is empty"),
    Reason.TIMESTAMP_INVALID: Meaning(
        "timestamp", "bronze", "the timestamp is neither Unix s/ms/µs/ns nor an ISO 8601 time"
    ),
    Reason.DEFECT_UNKNOWN: Meaning("defect", "silver", "Bronze flagged a defect this processor does not know"),
    Reason.SYMBOL_MISSING: Meaning("symbol", "silver", "the symbol is empty"),
    Reason.TRADE_ID_MISSING: Meaning("trade_id", "silver", "the trade id is empty"),
    Reason.TRADE_ID_INVALID: Meaning(
        "trade_id", "silver", "the trade id has a space, a hidden character or another one that is not visible ASCII"
    ),
    Reason.SYMBOL_UNMAPPED: Meaning("symbol", "silver", "the registry has no such symbol for the exchange"),
    **{
        Reason[f"{amount}_{case}"]: Meaning(f"{amount.lower()}_text", "silver", rule)
        for amount in ("PRICE", "QUANTITY")
        for case, rule in _AMOUNT.items()
    },
    Reason.QUOTE_VOLUME_TOO_PRECISE: Meaning(
        "quote_volume", "silver", "price times quantity does not fit Decimal(38, 20) without rounding"
    ),
    Reason.SIDE_INVALID: Meaning("side", "silver", "the side is neither BUY nor SELL, in any case of letters"),
    Reason.TIMESTAMP_OUT_OF_RANGE: Meaning("timestamp", "silver", "the time is outside [2009-01-03, 2100-01-01) UTC"),
    Reason.SEQUENCE_INVALID: Meaning("sequence", "silver", "the sequence is not an integer in [0, 2^64)"),
    Reason.KIND_UNKNOWN: Meaning("kind", "silver", "the kind of trade is none of docs/kinds.md"),
    Reason.MATCHES_INVALID: Meaning(
        "matches",
        "silver",
        "the number of matches is not an integer in [1, 1000000], or above 1 with a trade id that is too low for it,"
        " or no number without leading zeros",
    ),
    Reason.MATCHES_PARTLY_KNOWN: Meaning(
        "matches", "silver", "Silver has some of the matches that the message sums up: the others must come singly"
    ),
    Reason.BRONZE_UNREADABLE: Meaning("bronze", "silver", "the Bronze topic's message is no readable Avro container"),
    Reason.TRADE_CONTRADICTS: Meaning("trade", "silver", "Silver holds a trade with this id that says something else"),
    Reason.TRADE_SUPERSEDED: Meaning(
        "trade", "silver", "another version of the trade was accepted as the right one, or the trade was withdrawn"
    ),
}


def documentation() -> str:
    """The content of `docs/reasons.md`: one table row for each reason code, in the order of the rules."""
    rows = [
        f"| `{reason}` | {meaning.rule} | `{meaning.field}` | {meaning.layer.capitalize()} |"
        for reason, meaning in ((reason, MEANINGS[reason]) for reason in Reason)
    ]
    head = [
        "# Reason codes",
        "",
        "Written by `python -m schemas`; the first rule that a message breaks names its reason. Of a valid message of",
        "a trade that has another version (`trade_…`) the record's `field` names all that differ.",
        "",
        "| code | meaning | field | found in |",
        "|---|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])
