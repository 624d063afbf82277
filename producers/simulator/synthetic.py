"""Makes frames with trades of a random walk, in the exchanges' formats. The same seed makes the same trades."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from producers.simulator.protocols.model import dumps

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def write(
    path: Path, code: str, symbols: Sequence[str], *, seconds: float, rate: float, seed: int, start_us: int
) -> int:
    """Write a recording of `frames`, one frame a line.

    Returns:
        the number of trades.
    """
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for frame in frames(code, symbols, seconds=seconds, rate=rate, seed=seed, start_us=start_us):
            file.write(frame + "\n")
            count += 1
    return count


@dataclass(frozen=True, slots=True)
class RandomWalk:
    """The settings of a random walk that begins now: `seconds` long, `rate` trades a second.

    `clock_off_s`: by how much the exchange's clock is ahead of ours, s.
    """

    symbols: Sequence[str]
    seconds: float = 3_600.0
    rate: float = 20.0
    seed: int = 1
    clock_off_s: float = 0.0

    def frames(self, code: str) -> Iterator[bytes]:
        """As the function `frames`, beginning at the time when the first frame is read."""
        start_us = int((time.time() + self.clock_off_s) * 1_000_000)
        for frame in frames(
            code, self.symbols, seconds=self.seconds, rate=self.rate, seed=self.seed, start_us=start_us
        ):
            yield frame.encode()


def frames(
    code: str, symbols: Sequence[str], *, seconds: float, rate: float, seed: int, start_us: int
) -> Iterator[str]:
    """Frames of one trade each, `rate` a second for all symbols together, from `start_us` (µs, UTC) on.

    Trade ids of a symbol are consecutive, except Bybit's, which are no numbers.
    """
    dice = random.Random(seed)  # noqa: S311  # reproducible on purpose
    frame = _FRAMES[code.partition("_")[0]]
    ids = {symbol: dice.randrange(10**6, 10**9) for symbol in symbols}
    cents = {symbol: dice.randrange(10_000, 10_000_000) for symbol in symbols}
    for number in range(int(seconds * rate)):
        symbol = dice.choice([*symbols])
        ids[symbol] += 1
        cents[symbol] = max(cents[symbol] + dice.randint(-50, 50), 1)
        price = f"{cents[symbol] // 100}.{cents[symbol] % 100:02d}"
        quantity = f"0.{dice.randrange(1, 10**6):06d}"
        time_us = start_us + int(number * 1_000_000 / rate)
        yield frame(symbol, ids[symbol], price, quantity, time_us, dice.random() < 0.5)


def _binance(symbol: str, number: int, price: str, quantity: str, time_us: int, buy: bool) -> str:
    time_ms = time_us // 1_000
    trade = {
        "e": "trade", "E": time_ms, "s": symbol, "t": number, "p": price, "q": quantity, "T": time_ms, "m": not buy,
        "M": True,
    }  # fmt: skip
    return dumps({"stream": f"{symbol.lower()}@trade", "data": trade})


def _kraken(symbol: str, number: int, price: str, quantity: str, time_us: int, buy: bool) -> str:
    side = "buy" if buy else "sell"
    trade = (
        f'{{"symbol":"{symbol}","side":"{side}","price":{price},"qty":{quantity},"ord_type":"market",'
        f'"trade_id":{number},"timestamp":"{_iso(time_us)}"}}'
    )
    return f'{{"channel":"trade","type":"update","data":[{trade}]}}'


def _bybit(symbol: str, number: int, price: str, quantity: str, time_us: int, buy: bool) -> str:
    trade = {
        "T": time_us // 1_000, "s": symbol, "S": "Buy" if buy else "Sell", "v": quantity, "p": price,
        "i": f"{number * 2_654_435_761 % 2**64:016x}", "BT": False, "seq": number,
    }  # fmt: skip
    return dumps({"topic": f"publicTrade.{symbol}", "type": "snapshot", "ts": time_us // 1_000, "data": [trade]})


def _okx(symbol: str, number: int, price: str, quantity: str, time_us: int, buy: bool) -> str:
    trade = {
        "instId": symbol, "tradeId": str(number), "px": price, "sz": quantity, "side": "buy" if buy else "sell",
        "ts": str(time_us // 1_000), "count": "1",
    }  # fmt: skip
    return dumps({"arg": {"channel": "trades", "instId": symbol}, "data": [trade]})


def _coinbase(symbol: str, number: int, price: str, quantity: str, time_us: int, buy: bool) -> str:
    # The side is the maker's.
    trade = {
        "trade_id": str(number), "product_id": symbol, "price": price, "size": quantity,
        "side": "SELL" if buy else "BUY", "time": _iso(time_us),
    }  # fmt: skip
    events = [{"type": "update", "trades": [trade]}]
    return dumps({"channel": "market_trades", "client_id": "", "timestamp": "", "sequence_num": 0, "events": events})


def _iso(time_us: int) -> str:
    return (_EPOCH + timedelta(microseconds=time_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


_FRAMES: dict[str, Callable[[str, int, str, str, int, bool], str]] = {
    "binance": _binance,
    "kraken": _kraken,
    "bybit": _bybit,
    "okx": _okx,
    "coinbase": _coinbase,
}
