"""Makes the synthetic recordings: frames that no exchange has sent, in the exchanges' formats.

`python -m tests.recordings.synthetic` writes them again; the same seed gives the same frames.
The formats are those of docs.kraken.com/api/docs/websocket-v2, bybit-exchange.github.io/docs/v5,
docs.cdp.coinbase.com (Advanced Trade WebSocket) and www.okx.com/docs-v5 as of 2022, before `count`.
"""

from __future__ import annotations

import gzip
import json
import random
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

FOLDER = Path(__file__).parent
SEED = 20_250_303
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS, _S = 1_000, 1_000_000
# Trades that one order makes, and how often.
_SIZES, _WEIGHTS = (1, 2, 3, 5, 8, 20, 32), (60, 14, 10, 8, 5, 2, 1)


@dataclass(frozen=True, slots=True)
class Market:
    """A symbol; its first price in ticks, the decimals of its prices and quantities, its largest quantity in steps."""

    symbol: str
    ticks: int
    price_decimals: int
    quantity_decimals: int
    most_steps: int


@dataclass(frozen=True, slots=True)
class Made:
    """A trade: `number` is its place among the symbol's, `order` that of its taker's order; time in µs, UTC."""

    symbol: str
    number: int
    order: int
    price: str
    quantity: str
    buy: bool
    time_us: int


def orders(
    dice: random.Random, market: Market, *, trades: int, start_us: int, pause_s: float, step_us: int = 1
) -> Iterator[list[Made]]:
    """Each list is what one taker's order matched: equal time and side, prices that move away from him.

    Args:
        trades: how many in all.
        pause_s: mean time between orders; one in six comes at the same instant as the one before.
        step_us: the exchange's resolution of time.
    """
    ticks, time_us, number, order = market.ticks, start_us, 0, 0
    while number < trades:
        order += 1
        if dice.random() > 1 / 6:
            time_us += max(round(dice.expovariate(1 / (pause_s * _S)) / step_us), 1) * step_us
        buy = dice.random() < 0.5
        ticks = max(ticks + dice.randint(-30, 30), 1)
        made: list[Made] = []
        for _ in range(min(dice.choices(_SIZES, _WEIGHTS)[0], trades - number)):
            number += 1
            steps = max(int(market.most_steps ** dice.random()), 1)
            price, quantity = fixed(ticks, market.price_decimals), fixed(steps, market.quantity_decimals)
            made.append(Made(market.symbol, number, order, price, quantity, buy, time_us))
            ticks = max(ticks + dice.randint(0, 3) * (1 if buy else -1), 1)
        yield made


def kraken(dice: random.Random) -> Iterator[str]:
    """BTC/USDT over midnight: half way the connection is lost and misses a trade; 49 of the next 50 are known."""
    market = Market("BTC/USDT", 876_543, 1, 8, 150_000_000)
    start_us = _us(datetime(2025, 3, 3, 22, 40, tzinfo=UTC))
    made = [one for order in orders(dice, market, trades=400, start_us=start_us, pause_s=60) for one in order]
    lost = 213
    yield from _kraken_start(dice, made[:50])
    yield from _kraken_updates(made[49 : lost - 1])
    yield from _kraken_start(dice, made[lost - 50 : lost])
    yield from _kraken_updates(made[lost - 1 :])


def _kraken_start(dice: random.Random, last: Sequence[Made]) -> Iterator[str]:
    status = {
        "version": "2.0.10", "system": "online", "api_version": "v2", "connection_id": dice.getrandbits(64),
        "upcoming_maintenance": [], "emergency": [],
    }  # fmt: skip
    yield _json({"channel": "status", "type": "update", "data": [status]})
    now = iso(last[-1].time_us + _S)
    result = {"channel": "trade", "snapshot": True, "symbol": last[-1].symbol}
    yield _json({"method": "subscribe", "result": result, "success": True, "time_in": now, "time_out": now})
    yield _kraken_trades("snapshot", last)


def _kraken_updates(made: Sequence[Made]) -> Iterator[str]:
    """All but the first, which is known; trades of equal time in one frame, at most 3 heartbeats in a pause."""
    for before, frame in _by_time(made):
        yield from ['{"channel":"heartbeat"}'] * min((frame[0].time_us - before) // _S, 3)
        yield _kraken_trades("update", frame)


def _by_time(made: Sequence[Made]) -> Iterator[tuple[int, list[Made]]]:
    """Trades of equal time, without the first trade of all; before each the time of the trade before."""
    frame: list[Made] = []
    before = made[0].time_us
    for one in made[1:]:
        if frame and one.time_us != frame[0].time_us:
            yield before, frame
            before, frame = frame[0].time_us, []
        frame.append(one)
    yield before, frame


def _kraken_trades(kind: str, made: Sequence[Made]) -> str:
    # By hand: the numbers keep their trailing zeros.
    trades = ",".join(
        f'{{"symbol":"{one.symbol}","side":"{"buy" if one.buy else "sell"}","price":{one.price},"qty":{one.quantity},'
        f'"ord_type":"{"limit" if one.order % 3 else "market"}","trade_id":{41_000_000 + one.number},'
        f'"timestamp":"{iso(one.time_us)}"}}'
        for one in made
    )
    return f'{{"channel":"trade","type":"{kind}","data":[{trades}]}}'


def bybit(dice: random.Random) -> Iterator[str]:
    """Four linear perpetuals: `seq` counts a symbol's orders, and alone orders those of one millisecond."""
    markets = (
        Market("BTCUSDT", 8_765_430, 2, 3, 4_000),
        Market("ETHUSDT", 215_678, 2, 2, 5_000),
        Market("SOLUSDT", 143_210, 3, 1, 6_000),
        Market("DOGEUSDT", 19_876, 5, 0, 90_000),
    )
    start_us = _us(datetime(2025, 3, 4, 9, 29, 40, tzinfo=UTC))
    frames: list[list[Made]] = []
    for number, market in enumerate(markets):
        trades = 130 - 25 * number
        frames += orders(dice, market, trades=trades, start_us=start_us, pause_s=1.2, step_us=_MS)
    frames.sort(key=lambda frame: frame[0].time_us)
    for here in range(len(frames) - 1):
        # The later order of an instant arrives first now and then.
        if _instant(frames[here]) == _instant(frames[here + 1]) and dice.random() < 0.5:
            frames[here], frames[here + 1] = frames[here + 1], frames[here]
    ack = {"success": True, "ret_msg": "", "conn_id": str(uuid.UUID(int=dice.getrandbits(128))), "req_id": ""}
    yield from [_json({**ack, "op": "subscribe"})] * len(markets)
    for frame in frames:
        trades_ = [
            {
                "T": one.time_us // _MS, "s": one.symbol, "S": "Buy" if one.buy else "Sell", "v": one.quantity,
                "p": one.price, "L": dice.choice(("PlusTick", "ZeroPlusTick", "MinusTick", "ZeroMinusTick")),
                "i": str(uuid.UUID(int=dice.getrandbits(128), version=4)), "BT": False, "RPI": False,
                "seq": 310_000_000_000 + one.order,
            }
            for one in frame
        ]  # fmt: skip
        first = frame[0]
        yield _json(
            {
                "topic": f"publicTrade.{first.symbol}", "type": "snapshot",
                "ts": first.time_us // _MS + dice.randrange(4), "data": trades_,
            }
        )  # fmt: skip


def _instant(frame: Sequence[Made]) -> tuple[str, int]:
    return frame[0].symbol, frame[0].time_us


def coinbase(dice: random.Random) -> Iterator[str]:
    """BTC-USD: newest first, also before the acknowledgements; the maker's side; frame numbers have holes."""
    market = Market("BTC-USD", 8_765_432, 2, 8, 20_000_000)
    start_us = _us(datetime(2025, 3, 4, 14, 3, 20, tzinfo=UTC))
    made = [one for order in orders(dice, market, trades=210, start_us=start_us, pause_s=1.3) for one in order]
    sequence = 0

    def frame(channel: str, time_us: int, event: dict[str, object]) -> str:
        nonlocal sequence
        head = {"channel": channel, "timestamp": f"{iso(time_us)[:-1]}{dice.randrange(1000):03d}Z"}
        text = _json({**head, "sequence_num": sequence, "events": [event]})
        sequence += dice.randint(1, 4)
        return text

    def trades(kind: str, some: Sequence[Made]) -> str:
        listed = [
            {
                "product_id": one.symbol, "trade_id": str(905_000_000 + one.number), "price": one.price,
                "size": one.quantity, "time": _short(iso(one.time_us)), "side": "SELL" if one.buy else "BUY",
            }
            for one in reversed(some)
        ]  # fmt: skip
        return frame("market_trades", some[-1].time_us + 60 * _MS, {"type": kind, "trades": listed})

    now_us = made[99].time_us
    yield trades("snapshot", made[:100])
    channels: dict[str, list[str]] = {}
    for name in ("market_trades", "ticker", "heartbeats"):
        channels[name] = ["heartbeats" if name == "heartbeats" else market.symbol]
        yield frame("subscriptions", now_us + 61 * _MS, {"subscriptions": dict(channels)})
    beats = 0
    for before, some in _by_time(made[99:]):
        for _ in range(min((some[0].time_us - before) // _S, 3)):
            beats += 1
            moment = f"{_EPOCH + timedelta(microseconds=before + beats):%Y-%m-%d %H:%M:%S.%f}000 +0000 UTC"
            event: dict[str, object] = {"current_time": f"{moment} m=+{beats}.5", "heartbeat_counter": beats}
            yield frame("heartbeats", before + _S, event)
        yield trades("update", some)


def okx(dice: random.Random) -> Iterator[str]:
    """A spot pair, a future and a swap, one trade a frame; acknowledged twice."""
    markets = (
        (Market("BTC-USD-220527", 302_188, 1, 0, 40), 6, 5.0),
        (Market("UNI-USD-SWAP", 5_123, 3, 0, 900), 3, 10.0),
        (Market("BTC-USDT", 301_990, 1, 8, 30_000_000), 75, 1.0),
    )
    for _ in range(2):
        for market, _, _ in markets:
            yield _json({"event": "subscribe", "arg": {"channel": "trades", "instId": market.symbol}})
    start_us = _us(datetime(2022, 5, 13, 9, 14, 45, tzinfo=UTC))
    made = [
        one
        for market, trades, pause_s in markets
        for order in orders(dice, market, trades=trades, start_us=start_us, pause_s=pause_s, step_us=_MS)
        for one in order
    ]
    for one in sorted(made, key=lambda one: one.time_us):
        trade = {
            "instId": one.symbol, "tradeId": str(9_000 + one.number), "px": one.price, "sz": one.quantity,
            "side": "buy" if one.buy else "sell", "ts": str(one.time_us // _MS),
        }  # fmt: skip
        yield _json({"arg": {"channel": "trades", "instId": one.symbol}, "data": [trade]})


def fixed(units: int, decimals: int) -> str:
    """`units` of the last decimal place as plain text, with its trailing zeros."""
    whole, rest = divmod(units, 10**decimals)
    return f"{whole}.{rest:0{decimals}d}" if decimals else str(whole)


def iso(time_us: int) -> str:
    """RFC 3339 with 6 decimals."""
    return (_EPOCH + timedelta(microseconds=time_us)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _short(time: str) -> str:
    """Without trailing zeros, as Coinbase writes it."""
    return f"{time[:-1].rstrip('0').rstrip('.')}Z"


def _us(moment: datetime) -> int:
    return int(moment.timestamp()) * _S


def _json(message: object) -> str:
    return json.dumps(message, separators=(",", ":"))


RECORDINGS = {
    "kraken_v2_btcusdt_synthetic": kraken,
    "bybit_v5_linear_synthetic": bybit,
    "coinbase_advanced_btcusd_synthetic": coinbase,
    "okx_v5_trades_synthetic": okx,
}


def lines(name: str) -> bytes:
    """The recording: one frame a line."""
    dice = random.Random(f"{SEED} {name}")  # reproducible on purpose
    return "".join(f"{frame}\n" for frame in RECORDINGS[name](dice)).encode()


if __name__ == "__main__":
    for name in RECORDINGS:
        (FOLDER / f"{name}.jsonl.gz").write_bytes(gzip.compress(lines(name), 9, mtime=0))
