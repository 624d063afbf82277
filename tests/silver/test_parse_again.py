"""Dead letters that Bronze could not read: what today's parsers make of the raw message."""

from __future__ import annotations

import base64
import json

import pytest

from producers.exchanges import exchange
from producers.exchanges.model import UNRECOGNISED
from producers.kafka.envelope import encode, envelopes
from silver_processor.revalidation import parse_again, whole

LIMIT = 1_048_576
BINANCE = b'{"e":"trade","E":1,"s":"BTCUSDT","t":42,"p":"61837.630","q":"0.02","T":1723161255342,"m":true,"M":true}'
KRAKEN = (
    b'{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":60000.10,"qty":0.00000024,'
    b'"ord_type":"limit","trade_id":7,"timestamp":"2024-08-08T23:54:15.342000Z"}%s]}'
)


def unparsed(code: str, frame: bytes) -> bytes:
    """The raw message of a frame that the parser of the day did not recognise."""
    (envelope,) = envelopes(code, frame, UNRECOGNISED, 5)
    return encode(envelope)


@pytest.mark.parametrize(("code", "frame"), [("binance", BINANCE), ("kraken", KRAKEN % b"")])
def test_a_frame_that_is_recognised_today_gives_what_its_producer_would_publish(code: str, frame: bytes) -> None:
    """Digit for digit, as for a trade that never was in the queue (invariant 4)."""
    (expected,) = envelopes(code, frame, exchange(code).parse(frame), 5)
    found = parse_again(unparsed(code, frame), code, LIMIT)
    assert found.why == ""
    assert found.columns == {
        "exchange": code,
        "symbol": expected.symbol,
        "trade_id": expected.trade_id,
        "price_text": expected.price,
        "quantity_text": expected.quantity,
        "timestamp_raw": expected.timestamp,
        "side": expected.side,
        "sequence": expected.sequence,
        "kind": expected.kind,
        "matches": expected.matches,
    }


def test_fields_that_bronze_refused_come_as_they_are() -> None:
    """Whatever the reason was: numbers keep their characters, what is no text counts as missing."""
    message = b'{"exchange":"okx","symbol":"BTC-USDT","trade_id":12,"price":1.50,"quantity":2.4e-07,"timestamp":17}'
    found = parse_again(message, "", LIMIT)
    assert (found.columns["trade_id"], found.columns["price_text"]) == ("12", "1.50")
    assert (found.columns["quantity_text"], found.columns["side"]) == ("2.4e-07", "")


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (unparsed("kraken", KRAKEN % (b", " + KRAKEN.split(b"[")[1][: -len(b"%s]}")])), "finds 2 trades"),
        (unparsed("binance", b'{"result":null,"id":1}'), "control message"),
        (unparsed("binance", b'{"weird":1}'), "does not recognise"),
        (unparsed("binance", b"\xff\xfe"), "does not recognise"),
        (unparsed("nosuch", BINANCE), "no parser for nosuch"),
        (b"[1]", "no JSON object"),
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b" " * 2_000_000, "still longer"),
        (json.dumps({"exchange": "binance", "symbol": "x" * 300, "price": "1"}).encode(), "symbol is still longer"),
        (b'{"exchange":"binance","payload":"%%","payload_encoding":"base64"}', "does not match its encoding"),
    ],
)
def test_what_cannot_be_parsed_says_why(message: bytes, why: str) -> None:
    found = parse_again(message, "", LIMIT)
    assert why in found.why
    assert not found.columns


def test_a_dead_letter_that_carries_only_the_beginning_of_its_message_is_not_taken_for_the_whole() -> None:
    assert whole("ü", "", 2) == "ü".encode()
    assert whole("ü", "", 3) is None
    assert whole("", "", 0) is None, "Raw did not have it"
    assert whole(base64.b64encode(b"\xff").decode(), "base64", 1) == b"\xff"
