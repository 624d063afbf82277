"""The messages of the streams.

Source: https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from serving.market_data.amounts import amount
from serving.market_data.buyers import UNKNOWN
from serving.market_data.hot_reader import Row
from serving.market_data.intervals import Interval
from serving.rest.endpoints import trade_id


@dataclass(frozen=True)
class Update:
    """A message of a stream, encoded once for all its clients.

    Attributes:
        stream: the stream's name.
        data: the message, times in ms.
        replaces: this message replaces an older one with the same key that still waits; None: it replaces none.
        must_arrive: a full queue drops other messages first.
        trade_us: the time of a trade, µs; 0 in other messages.
    """

    stream: str
    data: dict[str, Any]
    replaces: Hashable = None
    must_arrive: bool = False
    trade_us: int = 0

    def text(self, *, is_named: bool, in_micros: bool) -> str:
        """The message as it is sent.

        Args:
            is_named: with the name of its stream, as `/stream` sends it.
            in_micros: with times in µs. The end of a candle is the last µs of its window.
        """
        if in_micros:
            return self._named_in_micros if is_named else self._plain_in_micros
        return self._named if is_named else self._plain

    @cached_property
    def _plain(self) -> str:
        return _json(self.data)

    @cached_property
    def _named(self) -> str:
        return _json({"stream": self.stream, "data": self.data})

    @cached_property
    def _plain_in_micros(self) -> str:
        return _json(self._data_in_micros)

    @cached_property
    def _named_in_micros(self) -> str:
        return _json({"stream": self.stream, "data": self._data_in_micros})

    @property
    def _data_in_micros(self) -> dict[str, Any]:
        changed: dict[str, Any] = {"E": self.data["E"] * 1000}
        if self.trade_us:
            changed["T"] = self.trade_us
        if "k" in self.data:
            candle = self.data["k"]
            changed["k"] = candle | {"t": candle["t"] * 1000, "T": candle["T"] * 1000 + 999}
        return self.data | changed


def _json(message: dict[str, Any]) -> str:
    return orjson.dumps(message).decode()


def kline_update(stream: str, interval: Interval, row: Row, now: int) -> Update:
    """A candle; `x` says whether it is closed. `now`: ms since the epoch.

    First and last trade id are -1: Gold does not keep them.
    """
    candle = {
        "t": row["opened"] * 1000,
        "T": interval.end(row["opened"]) * 1000 - 1,
        "s": row["symbol"],
        "i": interval.code,
        "f": -1,
        "L": -1,
        "o": amount(row["open"]),
        "c": amount(row["close"]),
        "h": amount(row["high"]),
        "l": amount(row["low"]),
        "v": amount(row["volume"]),
        "n": row["trade_count"],
        "x": bool(row["is_closed"]),
        "q": amount(row["quote_volume"]),
        "V": amount(row["buy_volume"]),
        "Q": row.get("buy_quote_volume", UNKNOWN),
        "B": "0",
    }
    data = {"e": "kline", "E": now, "s": row["symbol"], "k": candle}
    is_closed = bool(row["is_closed"])
    return Update(stream, data, replaces=(stream, row["opened"]) if is_closed else stream, must_arrive=is_closed)


def trade_update(stream: str, row: Row, now: int) -> Update:
    """A trade, of a row of `sql/new_trades.sql`. `now`: ms since the epoch."""
    data = {
        "e": "trade",
        "E": now,
        "s": row["symbol"],
        "t": trade_id(row["trade_id"]),
        "p": amount(row["price"]),
        "q": amount(row["quantity"]),
        "T": row["time"],
        "m": bool(row["is_buyer_maker"]),
        "M": True,
    }
    return Update(stream, data, trade_us=row["time_us"])


def mini_ticker_update(stream: str, row: Row, now: int) -> Update:
    """A market's last 24 hours, of a row of `serving.market_data.tickers`. `now`: ms since the epoch."""
    names = {"c": "lastPrice", "o": "openPrice", "h": "highPrice", "l": "lowPrice", "v": "volume", "q": "quoteVolume"}
    data = {"e": "24hrMiniTicker", "E": now, "s": row["symbol"]}
    return Update(stream, data | {key: row[name] for key, name in names.items()}, replaces=stream)
