"""The description of an exchange, and the three kinds of frame."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec

from producers.timestamps import event_time_us
from schemas.kinds import MOST_MATCHES

ACK = "ack"
# The exchange is about to close the connection.
ENDING = "ending"
ERROR = "error"
HEARTBEAT = "heartbeat"
PONG = "pong"
STATUS = "status"
NO_TRADES = "no_trades"
# The kind of a control message or REST record about an id that has no trade. It is not published.
PLACEHOLDER = "placeholder"
# `producer_gaps` and Silver hold numeric ids as UInt64.
_NO_ID = 2**64


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One trade in the exchange's own text, digit for digit; "" where the exchange sent nothing.

    Attributes:
        side: the taker's, `BUY` or `SELL`; any other text of the exchange stays as it is.
        sequence: the exchange's order key beside the trade id.
        payload: the message, or the trade's element of it, verbatim.
        kind: one of `schemas.kinds`; "" for an ordinary market trade; for an unknown kind the exchange's member and
            text (`X=NEW`).
        matches: how many matches the trade sums up under the id of the last one; "" for one.
    """

    symbol: str
    trade_id: str
    price: str
    quantity: str
    timestamp: str
    side: str
    sequence: str
    payload: str
    kind: str = ""
    matches: str = ""


def id_number(trade_id: str) -> int | None:
    """The number of a trade id; None if the id is no decimal number below 2^64, which no exchange's ids reach.

    A number with leading zeros is none: Silver knows a trade by the text of its id, so 07 is another trade than 7.
    """
    if not trade_id.isascii() or not trade_id.isdigit() or len(trade_id) > 20 or (trade_id[0] == "0" != trade_id):
        return None
    number = int(trade_id)
    return number if number < _NO_ID else None


def matches_of(trade: Trade) -> int:
    """How many matches a trade sums up; one if its text is no number up to `schemas.kinds.MOST_MATCHES`."""
    text = trade.matches
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1
    return count if count <= MOST_MATCHES else 1


def is_placeholder(price: str, quantity: str) -> bool:
    """Whether price and quantity are both zero: an id without a trade. A price of zero alone is an invalid trade."""
    return _is_zero(price) and _is_zero(quantity)


def _is_zero(amount: str) -> bool:
    return "0" in amount and not amount.strip("0.") and amount.count(".") <= 1


class Trades(msgspec.Struct, frozen=True, gc=False):
    """A frame with at least one trade, in the frame's order.

    An element that is no JSON object becomes a record with only a payload.
    """

    records: list[Trade]


class SubscriptionAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer to a subscribe message.

    Attributes:
        symbols: the symbols that it is about, in the exchange's own spelling; None for all of the message.
        number: the number of the message, if the exchange repeats it.
        words: the exchange's words of a refusal.
    """

    symbols: tuple[str, ...] | None = None
    number: int | None = None
    words: str = ""


class Control(msgspec.Struct, frozen=True, gc=False):
    """A known message without a trade. It is counted by `kind`, and not published.

    Attributes:
        answer: what an ACK or ERROR says about a subscription; None if it is about none.
        placeholders: ids without a trade, so that they do not count as lost trades.
    """

    kind: str
    answer: SubscriptionAnswer | None = None
    placeholders: tuple[Trade, ...] = ()


class Unrecognised(msgspec.Struct, frozen=True, gc=False):
    """Neither trades nor a known control message. It is published unchanged, and becomes a dead letter."""


Parsed = Trades | Control | Unrecognised
UNRECOGNISED = Unrecognised()


def frame_time_us(parsed: Parsed) -> int | None:
    """The latest trade time in the frame, µs (UTC); None if it has none."""
    if not isinstance(parsed, Trades):
        return None
    return max((time for trade in parsed.records if (time := event_time_us(trade.timestamp)) is not None), default=None)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `times` within any `seconds`."""

    times: float
    seconds: float


class RestError(RuntimeError):
    """The exchange's answer is not a list of trades."""


class RefusedError(RestError):
    """The exchange refuses this request. To repeat it is useless."""


class UnknownError(RefusedError):
    """The exchange does not know what was asked for (HTTP 400 or 404), mostly the symbol."""


class Pages(Enum):
    """How to get more trades than one answer has."""

    FORWARD = "from old to new"
    BACKWARD = "from new to old"
    NONE = "only the newest trades are served"


@dataclass(frozen=True, slots=True)
class TradeSpan:
    """The trades to request: ids `first` to `last`, both included, none older than `since_us` (µs, UTC)."""

    first: int
    last: int
    since_us: int


@dataclass(frozen=True, slots=True)
class Rest:
    """An exchange's REST interface for trades.

    Attributes:
        url: its address.
        rate: requests that the exchange allows.
        pages: how to get more trades than one answer has.
        request: gives path and query for a symbol and a span.
        newest: gives path and query for a symbol's newest trades.
        parse: gives an answer's trades, oldest first. Raises RestError or msgspec.DecodeError if it has no list of
            trades.
        key_header: the header in which `request` needs an API key; "" for a public interface. `newest` needs none.
        key_variable: the environment variable with that key.
        reach_s: how far back trades are served, s; 0 for all trades.
        by_time: whether `request` uses the time of a span, not its ids.
        page: number of trades in a full answer.
        headers_beside: gives headers for times in the same unit as the stream at a URL.
    """

    url: str
    rate: Rate
    pages: Pages
    request: Callable[[str, TradeSpan], str]
    newest: Callable[[str], str]
    parse: Callable[[str, bytes], list[Trade]]
    key_header: str = ""
    key_variable: str = ""
    reach_s: float = 0.0
    by_time: bool = False
    page: int = 1_000
    headers_beside: Callable[[str], Mapping[str, str]] = lambda _stream_url: {}


@dataclass(frozen=True, slots=True)
class Exchange:
    """The description of one exchange and market, for the connection, the replay and the simulator."""

    code: str
    url: str
    parse: Callable[[bytes], Parsed]
    # Makes the message that subscribes to symbols (in the exchange's own spelling) from them and its number on this
    # connection. Some exchanges repeat the number in their answer.
    subscribe: Callable[[Sequence[str], int], str]
    # Most symbols of one such message.
    symbols_a_message: int = 100
    # Messages that are sent first on every connection.
    greeting: tuple[str, ...] = ()
    # Text message that keeps the connection alive; "" if pings of the WebSocket protocol do.
    ping: str = ""
    ping_interval_s: float = 20.0
    # Longest silence of a healthy connection. The exchange sends a heartbeat, pong or trade well within it.
    idle_timeout_s: float = 60.0
    # Least time between two messages to the exchange.
    send_interval_s: float = 0.0
    # Most symbols of one connection. More symbols get more connections.
    symbols_a_connection: int = 200
    # Age at which the exchange closes a connection; 0 if it names none.
    lifetime_s: float = 0.0
    # New connections that the exchange allows.
    connects: Rate = Rate(1, 1.0)
    # Whether the exchange answers a subscribe message symbol by symbol. Otherwise one unknown symbol refuses all.
    answers_each_symbol: bool = False
    # For trade ids that are consecutive numbers of a symbol: how many ids a trade stands for. None for other ids.
    ids_of: Callable[[Trade], int] | None = matches_of
    # Whether the exchange gives some of these ids to no trade (`PLACEHOLDER`).
    has_placeholders: bool = False
    rest: Rest | None = None
    # REST requests that the exchange allows, if there is no `rest` to say it.
    requests: Rate = Rate(1, 1.0)
    # Exchange and market, for people.
    title: str = ""
    # Where markets share a parser: the code of the market that sent a trade, by its payload; "" where that does not
    # tell.
    market_of: Callable[[Trade], str] = lambda _trade: ""


def chunks(symbols: Sequence[str], size: int) -> list[Sequence[str]]:
    """`symbols` in order, at most `size` at a time."""
    return [symbols[start : start + size] for start in range(0, len(symbols), size)]
