"""Every recording, and what it holds by a reading of its own: json, decimals and polars, never product code."""

from __future__ import annotations

import dataclasses
import functools
import gzip
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

FOLDER = Path(__file__).parent / "recordings"
# Further recordings (`ws/`) whose licences keep them out of this repository, and what others computed of them
# (`expected/`): a folder that only some machines have and name.
MORE = Path(os.environ.get("MEDALLION_MORE_RECORDINGS", FOLDER / "none"))
# How names of recordings begin → exchange code of the pipeline, and exchange and market of the truth.
_VENUES = {
    "binance_spot_": ("binance", "binance", "spot"),
    "binance_usdm_": ("binance_usdm", "binance", "usdm"),
    "kraken_v2_": ("kraken", "kraken", "spot"),
    "bybit_v5_linear": ("bybit_linear", "bybit", "linear"),
    "okx_v5_": ("okx", "okx", "mixed"),
    "coinbase_advanced_": ("coinbase", "coinbase", "spot"),
}
COLUMNS = ("exchange", "market", "symbol", "trade_id", "price", "qty", "side", "trade_time_ns")


class Trade(NamedTuple):
    """A trade as a frame has it, in the exchange's digits; the taker's side; `order` decides between equal times."""

    symbol: str
    trade_id: str
    price: str
    quantity: str
    side: str
    time_ns: int
    order: int


@dataclass(frozen=True)
class Frames:
    """How many frames, how many of each kind, and the trades in the order of their arrival, repeated ones too."""

    count: int
    kinds: Counter[str]
    trades: list[Trade]


@dataclass(frozen=True)
class Recorded:
    """A recording: its name, the exchange code it is replayed with, and its file."""

    name: str
    code: str
    exchange: str
    market: str
    path: Path

    def frames(self) -> Frames:
        """What is in the file."""
        return _frames(self)

    def trades(self) -> pl.DataFrame:
        """Unique trades as text, columns `COLUMNS`: by symbol, then in the exchange's order."""
        return _trades(self)

    def candles(self) -> pl.DataFrame:
        """Candles of 1 minute, by symbol and time: open_time_ms; decimals; trade_count; first and last trade_id."""
        return _candles(self)

    def part(self, frames: int, folder: Path) -> Recorded:
        """Its first frames, in a file of `folder`."""
        path = folder / f"{self.name}.jsonl"
        path.write_text("".join(self.text().splitlines(keepends=True)[:frames]), encoding="utf-8")
        return dataclasses.replace(self, path=path)

    def text(self) -> str:
        """All frames, one a line."""
        raw = self.path.read_bytes()
        return (gzip.decompress(raw) if self.path.suffix == ".gz" else raw).decode()


def _binance(message: dict[str, Any]) -> tuple[str, Iterable[Trade]]:
    data = message.get("data", message)
    if data.get("e") != "trade":
        return data.get("e", "bookTicker"), ()
    side, number = "SELL" if data["m"] else "BUY", data["t"]
    return "trades", [Trade(data["s"], number, data["p"], data["q"], side, int(data["T"]) * 10**6, int(number))]


def _kraken(message: dict[str, Any]) -> tuple[str, Iterable[Trade]]:
    if "method" in message:
        return "ack", ()
    if message["channel"] != "trade":
        return message["channel"], ()
    return "trades", [
        Trade(one["symbol"], one["trade_id"], one["price"], one["qty"], one["side"].upper(), _ns(one["timestamp"]),
              int(one["trade_id"]))
        for one in message["data"]
    ]  # fmt: skip


def _bybit(message: dict[str, Any]) -> tuple[str, Iterable[Trade]]:
    if "topic" not in message:
        return "ack", ()
    return "trades", [
        Trade(one["s"], one["i"], one["p"], one["v"], one["S"].upper(), int(one["T"]) * 10**6, int(one["seq"]))
        for one in message["data"]
    ]


def _okx(message: dict[str, Any]) -> tuple[str, Iterable[Trade]]:
    if "event" in message:
        return "ack", ()
    return "trades", [
        Trade(one["instId"], one["tradeId"], one["px"], one["sz"], one["side"].upper(), int(one["ts"]) * 10**6,
              int(one["tradeId"]))
        for one in message["data"]
    ]  # fmt: skip


def _coinbase(message: dict[str, Any]) -> tuple[str, Iterable[Trade]]:
    kinds = {"subscriptions": "ack", "heartbeats": "heartbeat"}
    if message["channel"] != "market_trades":
        return kinds[message["channel"]], ()
    # The side is the maker's.
    taker = {"BUY": "SELL", "SELL": "BUY"}
    return "trades", [
        Trade(one["product_id"], one["trade_id"], one["price"], one["size"], taker[one["side"]], _ns(one["time"]),
              int(one["trade_id"]))
        for event in message["events"]
        for one in event["trades"]
    ]  # fmt: skip


_READ: Mapping[str, Callable[[dict[str, Any]], tuple[str, Iterable[Trade]]]] = {
    "binance": _binance,
    "kraken": _kraken,
    "bybit": _bybit,
    "okx": _okx,
    "coinbase": _coinbase,
}


def _ns(time: str) -> int:
    """RFC 3339 in UTC with any number of decimals."""
    seconds, _, fraction = time.removesuffix("Z").partition(".")
    return int(datetime.fromisoformat(f"{seconds}+00:00").timestamp()) * 10**9 + int(fraction.ljust(9, "0"))


@functools.cache
def _frames(recorded: Recorded) -> Frames:
    read, kinds, trades, count = _READ[recorded.exchange], Counter[str](), [], 0
    for line in recorded.text().splitlines():
        # Numbers stay the text that they are.
        kind, some = read(json.loads(line, parse_float=str, parse_int=str))
        kinds[kind] += 1
        count += 1
        trades += some
    return Frames(count, kinds, trades)


@functools.cache
def _trades(recorded: Recorded) -> pl.DataFrame:
    unique: dict[tuple[str, str], Trade] = {}
    for trade in recorded.frames().trades:
        first = unique.setdefault((trade.symbol, trade.trade_id), trade)
        assert first == trade, "one trade with two contents: no recording of ours has that"
    # The sort is stable: trades of one Bybit match, which share their order, stay as they arrived.
    ordered = sorted(unique.values(), key=lambda one: (one.symbol, one.time_ns, one.order))
    venue = recorded.exchange, recorded.market
    rows = [(*venue, *one[:5], f"{one.time_ns}") for one in ordered]
    return pl.DataFrame(rows, dict.fromkeys(COLUMNS, pl.String), orient="row")


@functools.cache
def _candles(recorded: Recorded) -> pl.DataFrame:
    price, quantity = pl.col("price").str.to_decimal(scale=18), pl.col("qty").str.to_decimal(scale=18)
    product = pl.struct("price", "qty").map_elements(
        lambda one: f"{Decimal(one['price']) * Decimal(one['qty']):f}", pl.String
    )
    return (
        recorded.trades()
        .with_columns(quote=product.str.to_decimal(scale=20))
        .group_by("symbol", pl.col("trade_time_ns").cast(pl.Int64) // (60 * 10**9), maintain_order=True)
        .agg(
            open=price.first(),
            high=price.max(),
            low=price.min(),
            close=price.last(),
            volume=quantity.sum(),
            quote_volume=pl.col("quote").sum(),
            trade_count=pl.len(),
            first_trade_id=pl.first("trade_id"),
            last_trade_id=pl.last("trade_id"),
        )
        .with_columns(open_time_ms=pl.col("trade_time_ns") * 60_000)
        .drop("trade_time_ns")
    )


def _recordings(folder: Path) -> dict[str, Recorded]:
    """The recordings of a folder by name: its files of frames whose names begin as a venue's."""
    found = {}
    for path in sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")]):
        name = path.name.partition(".")[0]
        for start, (code, exchange, market) in _VENUES.items():
            if name.startswith(start):
                found[name] = Recorded(name, code, exchange, market, path)
    return found


# The recordings of this repository.
OURS = _recordings(FOLDER)
# Those that this machine has besides: none where `MORE` does not exist.
OTHERS = {name: one for name, one in _recordings(MORE / "ws").items() if name not in OURS}
