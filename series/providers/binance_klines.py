"""Binance's klines as rows of the series `bars`, from its REST answers and its daily files. Pure.

Twelve columns: open time, open, high, low, close, volume, close time, quote volume, number of trades, taker buy base
volume, taker buy quote volume, unused (developers.binance.com, "Kline/Candlestick Data";
github.com/binance/binance-public-data). On COIN-M the volume is in contracts and the "quote" volume in the base asset,
so this module does not read them. Times are ms, in files of spot from 2025-01-01 on µs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from producers.exchanges.parsing import elements, text, token
from series.answer import UNREADABLE, Row

_WIDTH = 12
_PLACES = {
    "window_start": 0,
    "open": 1,
    "high": 2,
    "low": 3,
    "close": 4,
    "volume": 5,
    "quote_volume": 7,
    "trade_count": 8,
    "buy_volume": 9,
}
_HEADER = "open_time"
_raws = msgspec.json.Decoder(list[msgspec.Raw])


def of_answer(body: bytes, market: Mapping[str, str]) -> list[Row]:
    """The rows of a REST answer, an array of arrays. `market`: the columns that the answer does not have.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: the answer is no JSON array.
    """
    return [_of_element(token(element), market) for element in elements(msgspec.Raw(body))]


def of_lines(lines: Sequence[bytes], market: Mapping[str, str]) -> list[Row]:
    """The rows of a file's lines. Headers and blank lines are left out."""
    rows: list[Row] = []
    for line in lines:
        content = line.decode("utf-8-sig", errors="backslashreplace").strip()
        if content and not content.lower().startswith(_HEADER):
            rows.append(_row(content.split(","), content, market))
    return rows


def _of_element(element: str, market: Mapping[str, str]) -> Row:
    try:
        values = [text(value) for value in _raws.decode(element)]
    except msgspec.DecodeError:
        return {UNREADABLE: element}
    return _row(values, element, market)


def _row(values: Sequence[str], source: str, market: Mapping[str, str]) -> Row:
    if len(values) != _WIDTH:
        return {UNREADABLE: source}
    return {**market, **{name: values[place].strip() for name, place in _PLACES.items()}}
