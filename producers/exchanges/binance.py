"""Binance spot, USD-M and COIN-M futures: `trade` streams, through the combined and the raw endpoint.

Wire format: developers.binance.com, "WebSocket Streams / Trade Streams". `T` is the trade time in ms, or in µs if the
connection asks for `timeUnit=MICROSECOND`. `m` is true if the buyer is the maker. Since 2026-04, USD-M serves `@trade`
under `/public`.

Kinds of trade (sources looked up 2026-11-28):

- The futures' `@trade` has the kind in `X`: MARKET, INSURANCE_FUND, ADL
  (github.com/QuantConnect/Lean.Brokerages.Binance/issues/28), or NA. NA with price and quantity 0 is an id without a
  trade; there are tens of thousands a day.
- REST and the dumps list trades "filled in the order book", without those of the insurance fund and ADL
  (developers.binance.com, USDⓈ-M Futures, "Recent Trades List", "Old Trades Lookup", "Compressed/Aggregate Trades
  List"; the dumps come from the endpoints of the last two, see github.com/binance/binance-public-data). They do not
  tell kinds apart, except for `isRPITrade` in USD-M's REST since 2025-11-18. The stream does not mark RPI trades.
- Spot's block trades have a stream and ids of their own (`<symbol>@blockTrade`, spot docs "Block Trade Streams"). They
  are control messages here, and so are reference prices.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import parse_qs, urlsplit

import msgspec
from msgspec import Raw
from msgspec.json import Decoder

from producers.exchanges.model import (
    ACK,
    ENDING,
    ERROR,
    PLACEHOLDER,
    UNRECOGNISED,
    Control,
    Exchange,
    Pages,
    Parsed,
    Rate,
    Rest,
    SubscriptionAnswer,
    Trade,
    Trades,
    TradeSpan,
    is_placeholder,
)
from producers.exchanges.parsing import ABSENT, counter, elements, fields, flagged, members, refusal, text, token, total
from schemas.kinds import TradeKind

_SIDE_OF_BUYER_IS_MAKER = {"true": "SELL", "false": "BUY"}
_KINDS = {"": "", "MARKET": "", "INSURANCE_FUND": TradeKind.INSURANCE_FUND.value, "ADL": TradeKind.ADL.value}
# The kind of an id without a trade.
NONE = "X=NA"
_TRADES_A_PAGE = 500  # the most that COIN-M and USD-M serve; spot serves 1,000
_COMBINED = b'{"stream":'
_BOOK_TICKER_KEYS = frozenset(("u", "s", "b", "B", "a", "A"))
_PARTIAL_DEPTH_KEYS = frozenset(("lastUpdateId", "bids", "asks"))
_OTHER_EVENTS = frozenset(
    (
        "24hrMiniTicker",
        "24hrTicker",
        "1hTicker",
        "4hTicker",
        "1dTicker",
        "aggTrade",
        "assetIndexUpdate",
        "avgPrice",
        "blockTrade",
        "bookTicker",
        "compositeIndex",
        "continuous_kline",
        "contractInfo",
        "depthUpdate",
        "forceOrder",
        "indexPriceUpdate",
        "indexPrice_kline",
        "kline",
        "markPriceUpdate",
        "markPrice_kline",
        "referencePrice",
        "tradingSession",
    )
)


class _BinanceEvent(msgspec.Struct, gc=False):
    e: Raw = ABSENT
    s: Raw = ABSENT
    t: Raw = ABSENT
    p: Raw = ABSENT
    q: Raw = ABSENT
    T: Raw = ABSENT
    m: Raw = ABSENT
    X: Raw = ABSENT


class _BinanceFrame(_BinanceEvent, gc=False):
    """An event (raw endpoint), or the wrapper around it (combined endpoint)."""

    stream: Raw = ABSENT
    data: _BinanceEvent | None = None


class _Trade(msgspec.Struct, gc=False):
    """The most frequent event. Strings in place of raw slices are faster, and have the same characters."""

    e: str
    s: str
    t: Raw
    p: str
    q: str
    T: Raw
    m: bool
    X: str = ""


class _TradeFrame(msgspec.Struct, gc=False):
    data: _Trade


_frame = Decoder(_BinanceFrame)
_trade_frame = Decoder(_TradeFrame)


@total
def parse(frame: bytes) -> Parsed:
    """One frame of any Binance market stream. Never raises."""
    payload = frame.decode()
    if frame.startswith(_COMBINED):
        try:
            trade = _trade_frame.decode(frame).data
        except msgspec.ValidationError:
            pass
        else:
            if trade.e == "trade":
                side = "SELL" if trade.m else "BUY"
                moment, kind = text(trade.T), kind_of(trade.X)
                return _of(Trade(trade.s, text(trade.t), trade.p, trade.q, moment, side, "", payload, kind))
    try:
        message = _frame.decode(frame)
    except msgspec.ValidationError:
        return _other(frame)
    event = message.data or message
    kind = text(event.e)
    if kind == "trade" or (not kind and message.data and text(message.stream).endswith("@trade")):
        maker = token(event.m)
        return _of(
            Trade(
                text(event.s),
                text(event.t),
                text(event.p),
                text(event.q),
                text(event.T),
                _SIDE_OF_BUYER_IS_MAKER.get(maker) or text(event.m),
                "",
                payload,
                kind_of(text(event.X)),
            )
        )
    if kind == "serverShutdown":
        return Control(ENDING)
    if kind in _OTHER_EVENTS:
        return Control(kind)
    return _other(frame)


def kind_of(way: str) -> str:
    """The kind of a trade, from its `X`."""
    known = _KINDS.get(way)
    return f"X={way}" if known is None else known


def _of(trade: Trade) -> Parsed:
    """A frame of one trade, or of an id without a trade: kind NA, and price and quantity 0."""
    if trade.kind == NONE and is_placeholder(trade.price, trade.quantity):
        return Control(PLACEHOLDER, placeholders=(trade,))
    return Trades([trade])


def market_of(trade: Trade) -> str:
    """The market that sent a trade: spot's have `M` and never `X`, futures' `X` and never `M`; COIN-M's are in USD."""
    message = members(Raw(trade.payload.encode()))
    event = members(message.get("data", ABSENT)) or message
    if ("M" in event) == ("X" in event):
        return ""
    if "M" in event:
        return "binance"
    return "binance_coinm" if "USD_" in trade.symbol else "binance_usdm"


def _other(frame: bytes) -> Parsed:
    if frame.lstrip()[:1] == b"[":
        return _array(Raw(frame))
    message = fields(frame)
    data = message.get("data")
    if data is not None and "stream" in message:
        if token(data)[:1] == "[":
            return _array(data)
        message = fields(data)
    keys = message.keys()
    if "e" not in keys and keys >= _BOOK_TICKER_KEYS:
        return Control("bookTicker")
    if keys >= _PARTIAL_DEPTH_KEYS:
        return Control("depth")
    number = counter(message.get("id", ABSENT))
    if "error" in keys or keys == {"code", "msg"}:
        return refusal(_words(message.get("error", ABSENT)), None, number) if number is not None else Control(ERROR)
    # Binance acknowledges a stream that does not exist, too. It stays silent.
    return Control(ACK, SubscriptionAnswer(None, number)) if keys == {"result", "id"} else UNRECOGNISED


def _words(error: Raw) -> str:
    if token(error)[:1] != "{":
        return text(error)
    said = fields(error)
    return text(said.get("msg", ABSENT)) or token(error)


def _array(raw: Raw) -> Parsed:
    """A frame of an all-market stream (`!ticker@arr`): an array of events of one kind."""
    kinds = {text(fields(event).get("e", ABSENT)) for event in elements(raw)}
    kind = kinds.pop() if len(kinds) == 1 else ""
    return Control(kind) if kind in _OTHER_EVENTS else UNRECOGNISED


def subscribe(symbols: Sequence[str], number: int) -> str:
    """The SUBSCRIBE message for the symbols' trade streams."""
    streams = [f"{symbol.lower()}@trade" for symbol in symbols]
    return msgspec.json.encode({"method": "SUBSCRIBE", "params": streams, "id": number}).decode()


class _BinanceRestTrade(msgspec.Struct, gc=False):
    id: Raw = ABSENT
    price: Raw = ABSENT
    qty: Raw = ABSENT
    time: Raw = ABSENT
    isBuyerMaker: Raw = ABSENT  # noqa: N815  # Binance's spelling
    isRPITrade: Raw = ABSENT  # noqa: N815


_rest_trade = Decoder(_BinanceRestTrade)


def _rest_parse(symbol: str, answer: bytes) -> list[Trade]:
    found = []
    for raw in elements(Raw(answer)):
        trade = _rest_trade.decode(raw)
        maker = token(trade.isBuyerMaker)
        side = _SIDE_OF_BUYER_IS_MAKER.get(maker, maker)
        price, quantity = text(trade.price), text(trade.qty)
        kind = flagged(("isRPITrade", trade.isRPITrade, TradeKind.RPI))
        if is_placeholder(price, quantity):
            kind = PLACEHOLDER
        found.append(Trade(symbol, text(trade.id), price, quantity, text(trade.time), side, "", token(raw), kind))
    return found


def _rest(url: str, path: str, rate: Rate, key_header: str = "") -> Rest:
    def request(symbol: str, span: TradeSpan) -> str:
        return f"{path}/historicalTrades?symbol={symbol}&fromId={span.first}&limit={_TRADES_A_PAGE}"

    def newest(symbol: str) -> str:
        return f"{path}/trades?symbol={symbol}&limit={_TRADES_A_PAGE}"

    key_variable = "MEDALLION_BINANCE_API_KEY" if key_header else ""
    return Rest(
        url,
        rate,
        Pages.FORWARD,
        request,
        newest,
        _rest_parse,
        key_header,
        key_variable,
        page=_TRADES_A_PAGE,
        headers_beside=_headers_beside,
    )


def _headers_beside(stream_url: str) -> dict[str, str]:
    """Headers that make REST send trade times in the unit of the stream."""
    unit = parse_qs(urlsplit(stream_url).query).get("timeUnit", [""])[0]
    return {"X-MBX-TIME-UNIT": unit} if unit.upper() == "MICROSECOND" else {}


def _market(code: str, title: str, url: str, rest: Rest, *, has_placeholders: bool) -> Exchange:
    # Limits: 5 messages a second (spot), 300 connections in 5 minutes from an IP, 1,024 streams and 24 h a connection.
    # Binance pings only every 20 s to 3 minutes, so a longer silence of quiet symbols is normal. The client's own pings
    # find dead connections.
    return Exchange(
        code,
        url,
        parse,
        subscribe,
        idle_timeout_s=300.0,
        send_interval_s=0.25,
        symbols_a_connection=1_000,
        lifetime_s=86_400.0,
        connects=Rate(300, 300.0),
        rest=rest,
        title=title,
        market_of=market_of,
        has_placeholders=has_placeholders,
    )


EXCHANGES = (
    # `historicalTrades` has a weight of 25 (of 6,000 a minute) on spot. On futures its weight is 200 (of 2,400), and it
    # needs an API key.
    _market(
        "binance",
        "Binance spot",
        "wss://stream.binance.com:9443/stream",
        _rest("https://api.binance.com", "/api/v3", Rate(180, 60.0)),
        has_placeholders=False,
    ),
    _market(
        "binance_usdm",
        "Binance USD-M futures",
        "wss://fstream.binance.com/public/stream",
        _rest("https://fapi.binance.com", "/fapi/v1", Rate(10, 60.0), "X-MBX-APIKEY"),
        has_placeholders=True,
    ),
    _market(
        "binance_coinm",
        "Binance COIN-M futures",
        "wss://dstream.binance.com/stream",
        _rest("https://dapi.binance.com", "/dapi/v1", Rate(10, 60.0), "X-MBX-APIKEY"),
        has_placeholders=True,
    ),
)
