"""The raw envelope: the form of a message on the raw topic (docs/architecture.md, Records)."""

from __future__ import annotations

import base64
from bisect import bisect_right

import msgspec

from producers.exchanges.model import PLACEHOLDER, Parsed, Trade, Trades, Unrecognised

# The Kafka header of a message that is not from a live stream. Its value names the source.
SOURCE = "source"
REST, BACKFILL, REPLAY = "rest", "backfill", "replay"
_UTF8 = ""
_KEY_CHARACTERS = 200
_FIELD_CHARACTERS = 1_000
_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Envelope]


class Envelope(msgspec.Struct, omit_defaults=True, gc=False, kw_only=True):
    """One raw message. Its JSON has the members in this order and no white space; ClickHouse reads this form fastest.

    `received_at`: µs since the epoch (UTC). `payload_encoding`: "base64" if the payload's bytes are not UTF-8, else "".
    """

    exchange: str
    symbol: str
    trade_id: str
    price: str
    quantity: str
    timestamp: str
    side: str
    sequence: str
    kind: str = ""
    matches: str = ""
    received_at: int
    payload: str
    payload_encoding: str = _UTF8

    @property
    def key(self) -> str:
        """The Kafka key, `<exchange>:<symbol>`."""
        return f"{self.exchange}:{self.symbol[:_KEY_CHARACTERS]}"


_decoder = msgspec.json.Decoder(Envelope)


def envelopes(exchange: str, frame: bytes, parsed: Parsed, received_at: int) -> list[Envelope]:
    """The raw messages of a frame: one for each trade, or one for an unrecognised frame.

    A control message has none, and neither has a placeholder (a trade id without a trade). `received_at`: µs since the
    epoch (UTC).
    """
    if isinstance(parsed, Trades):
        return [_of_trade(exchange, trade, received_at) for trade in parsed.records if trade.kind != PLACEHOLDER]
    if isinstance(parsed, Unrecognised):
        try:
            payload, encoding = frame.decode(), _UTF8
        except UnicodeDecodeError:
            payload, encoding = base64.b64encode(frame).decode("ascii"), "base64"
        return [bare(exchange, payload, received_at, encoding)]
    return []


def _of_trade(exchange: str, trade: Trade, received_at: int) -> Envelope:
    return Envelope(
        exchange=exchange,
        symbol=trade.symbol,
        trade_id=trade.trade_id,
        price=trade.price,
        quantity=trade.quantity,
        timestamp=trade.timestamp,
        side=trade.side,
        sequence=trade.sequence,
        kind=trade.kind,
        matches=trade.matches,
        received_at=received_at,
        payload=trade.payload,
    )


def bare(exchange: str, payload: str, received_at: int, payload_encoding: str = _UTF8) -> Envelope:
    """The raw message of a frame in which no trade was recognised. Its only field is the payload."""
    return Envelope(
        exchange=exchange,
        symbol="",
        trade_id="",
        price="",
        quantity="",
        timestamp="",
        side="",
        sequence="",
        received_at=received_at,
        payload=payload,
        payload_encoding=payload_encoding,
    )


def encode(envelope: Envelope) -> bytes:
    """The Kafka message's value."""
    return _encoder.encode(envelope)


def decode(value: bytes) -> Envelope:
    """The envelope of a message that `encode` made.

    Raises:
        msgspec.DecodeError: the message is no raw envelope.
    """
    try:
        return _decoder.decode(value)
    except RecursionError as error:
        raise msgspec.DecodeError(str(error)) from error


def shortened(envelope: Envelope, limit: int) -> Envelope:
    """The envelope with its texts cut, so that its message is shorter than `limit` bytes: at least 64 KiB.

    Of a message that is too large for the broker at least the beginning is published, and becomes a dead letter.
    """
    texts = {
        name: getattr(envelope, name)[:_FIELD_CHARACTERS]
        for name in ("symbol", "trade_id", "price", "quantity", "timestamp", "side", "sequence", "kind", "matches")
    }
    cut = msgspec.structs.replace(envelope, payload="", **texts)
    room = limit - len(encode(cut)) + len('""') - 1
    return msgspec.structs.replace(cut, payload=_beginning(envelope.payload, room))


def _beginning(text: str, nbytes: int) -> str:
    """The longest beginning of a text that takes at most `nbytes` of JSON.

    It has a multiple of four characters, so that base64 still decodes.
    """
    fours = range(len(text) // 4 + 1)
    fitting = bisect_right(fours, nbytes, key=lambda n: len(_encoder.encode(text[: 4 * n])))
    return text[: 4 * max(fitting - 1, 0)]
