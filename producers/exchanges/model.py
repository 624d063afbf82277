"""What an exchange module provides, and the three things a frame can be."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import msgspec

from producers.timestamps import event_time_us
from schemas.kinds import MOST_MATCHES

ACK = "ack"
#: The exchange is about to close the connection.
ENDING = "ending"
ERROR = "error"
HEARTBEAT = "heartbeat"
PONG = "pong"
STATUS = "status"
NO_TRADES = "no_trades"
#: Of a control message, and of a record of REST: a trade id that the exchange gave to no trade. It is not published.
PLACEHOLDER = "placeholder"


class Trade(msgspec.Struct, frozen=True, gc=False):
    """One trade in the exchange's own text, digit for digit; "" where the exchange sent nothing.

    `side` is the taker's, `BUY` or `SELL`, or the exchange's text where it is neither. `sequence` is the
    exchange's order key beside the trade id. `payload` is the message, or its element, verbatim. `kind` is one of
    `schemas.kinds` ("": an ordinary market trade) or, of a kind that is none of them, the exchange's member and its
    text (`X=NEW`); `matches` is how many matches the trade sums up under the last one's id ("": one).
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


def matches_of(trade: Trade) -> int:
    """How many matches a trade sums up; one where it says nothing that can be (`schemas.kinds.MOST_MATCHES`)."""
    text = trade.matches
    count = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 1
    return count if count <= MOST_MATCHES else 1


def is_placeholder(price: str, quantity: str) -> bool:
    """Whether both are plain zeros: an id without a trade, where a price of zero alone is a trade gone wrong."""
    return _is_zero(price) and _is_zero(quantity)


def _is_zero(amount: str) -> bool:
    return "0" in amount and not amount.strip("0.") and amount.count(".") <= 1


class Trades(msgspec.Struct, frozen=True, gc=False):
    """A frame of at least one trade, in the order of the frame.

    An element that is no JSON object is a record with nothing but its payload.
    """

    records: list[Trade]


class SubscriptionAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer to a subscribe message, about `symbols` (None: the whole message) in the exchange's own spelling.

    `number` is that of the message, where the exchange repeats it; `words` are the exchange's, of a refusal.
    """

    symbols: tuple[str, ...] | None = None
    number: int | None = None
    words: str = ""


class Control(msgspec.Struct, frozen=True, gc=False):
    """A known message that carries no trade: counted by `kind`, then dropped.

    `answer`: an ACK or an ERROR that says how a subscription stands; None: it is about none.
    `placeholders`: records of ids without a trade, so that nobody takes them for lost trades.
    """

    kind: str
    answer: SubscriptionAnswer | None = None
    placeholders: tuple[Trade, ...] = ()


class Unrecognised(msgspec.Struct, frozen=True, gc=False):
    """Neither a trade nor a known control message: published as it came, so that it ends in the DLQ."""


Parsed = Trades | Control | Unrecognised
UNRECOGNISED = Unrecognised()


def frame_time_us(parsed: Parsed) -> int | None:
    """The latest trade time in the frame, µs; None for a frame without one."""
    if not isinstance(parsed, Trades):
        return None
    return max((time for trade in parsed.records if (time := event_time_us(trade.timestamp)) is not None), default=None)


@dataclass(frozen=True, slots=True)
class Rate:
    """At most `times` in any `seconds`."""

    times: float
    seconds: float


class RestError(RuntimeError):
    """The exchange answered something else than trades."""


class Pages(Enum):
    """How to get at more trades than one answer holds."""

    FORWARD = "from old to new"
    BACKWARD = "from new to old"
    NONE = "only the newest trades are served"


@dataclass(frozen=True, slots=True)
class TradeSpan:
    """Wanted trades: ids `first` to `last`, both included, none older than `since_us` (µs, UTC)."""

    first: int
    last: int
    since_us: int


@dataclass(frozen=True, slots=True)
class Rest:
    """`request` gives path and query below `url`, `newest` those of the newest trades; `parse` an answer's trades,
    oldest first.

    `parse` raises RestError, or msgspec.DecodeError, for an answer that holds no list of trades. `key_variable` names
    the environment variable of the API key that `request` wants in `key_header`; "" for a public interface. `newest`
    needs none. `reach_s`: how far back the exchange says that trades are served; 0: all of them. `by_time`: `request`
    honours a span's time, not its ids. A full answer holds `page` trades.
    `headers_beside` are sent to get times in the unit of the stream at a URL.
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
    """All that the connection loop, the replay and the simulator need to know of one exchange and market."""

    code: str
    url: str
    parse: Callable[[bytes], Parsed]
    #: The message that subscribes to symbols, in the exchange's own spelling, and its number on this connection, which
    #: the answer repeats where the exchange does that.
    subscribe: Callable[[Sequence[str], int], str]
    #: Symbols that one such message may carry.
    symbols_a_message: int = 100
    #: What is sent first on every connection.
    greeting: tuple[str, ...] = ()
    #: Text message that keeps the connection alive; "" where protocol-level pings do.
    ping: str = ""
    ping_interval_s: float = 20.0
    #: Longest silence of a healthy connection: the exchange sends a heartbeat, pong or trade well within it.
    idle_timeout_s: float = 60.0
    #: Least time between two messages to the exchange.
    send_interval_s: float = 0.0
    #: Symbols that one connection may carry; more are spread over several.
    symbols_a_connection: int = 200
    #: The exchange cuts a connection off at this age; 0: it does not say that it does.
    lifetime_s: float = 0.0
    #: New connections that the exchange allows.
    connects: Rate = Rate(1, 1.0)
    #: A subscribe message is answered symbol by symbol; else one unknown symbol refuses the whole message.
    answers_each_symbol: bool = False
    #: Trade ids are numbers without holes, a symbol each; how many of them one trade stands for.
    ids_of: Callable[[Trade], int] | None = matches_of
    rest: Rest | None = None
    #: REST requests that the exchange allows where `rest` does not say it.
    requests: Rate = Rate(1, 1.0)
    #: Exchange and market, for people.
    title: str = ""
    #: Where markets share a parser: the code of the market that sent a trade, by its payload; "" where that does not
    #: tell.
    market_of: Callable[[Trade], str] = lambda _trade: ""


def chunks(symbols: Sequence[str], size: int) -> list[Sequence[str]]:
    """`symbols` in order, at most `size` at a time."""
    return [symbols[start : start + size] for start in range(0, len(symbols), size)]
