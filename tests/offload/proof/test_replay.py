"""The time machine gives the bytes that came in, in their order: hot, cold, at a pin; and says what it lacks."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import pytest
import requests

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp
from offload.clickhouse.tiers import Tiers
from offload.pins import Pins
from offload.retention.gate import close_gate
from offload.run import run
from offload.tables.catalog import ColdTier
from producers.exchanges import REGISTRY
from producers.exchanges.model import UNRECOGNISED
from producers.kafka.envelope import encode, envelopes
from tests.offload.conftest import new_settings
from tests.offload.hot_tables import HotTables
from tests.recorded import OURS
from tests.serving.running import running

# Two days of arrival, so that one can leave before the other.
START = datetime(2026, 1, 5, 23, 59, 58, tzinfo=UTC)
LATER = datetime(2028, 1, 1, tzinfo=UTC)
STEP = timedelta(milliseconds=9, microseconds=1)
SYMBOLS = {"binance": ("BTCUSDT", "btcusdt"), "kraken": ("BTC/USD", "BTCUSD")}
HOSTILE = (
    b"pong",
    b"",
    b"\xff\xfe\x00",
    b'{"a":\n1}',
    '{"s":"\u2028 \\u0000 \U0001f600 \\/ / \\" \\n","n":1.50,"e":1e-7}'.encode(),
    '{"half a pair":"\\ud83d","/":"\U0001f600\t"}'.encode(),
    b'"\\"},{\\"localTimestamp\\""',
)


@dataclass(frozen=True)
class Came:
    """A message: when a producer received it, the exchange's text or bytes, and its Kafka message."""

    at: datetime
    symbol: str
    said: bytes
    value: bytes


def elements(frame: bytes) -> list[bytes]:
    """The trades of a frame as the exchange wrote them, cut out of its text."""
    text = frame.decode()
    start = text.index('"data":') + len('"data":')
    if text[start] == "{":
        return [frame]
    found, at = [], start + 1
    while text[at] != "]":
        _, end = json.JSONDecoder().raw_decode(text, at)
        found.append(text[at:end].encode())
        at = end + (text[end] == ",")
    return found


def came(exchange: str, frames: list[bytes], at: datetime) -> list[Came]:
    """What a producer makes of frames that come one after the other."""
    found = []
    for number, frame in enumerate(frames):
        parsed = REGISTRY[exchange].parse(frame) if frame not in HOSTILE else UNRECOGNISED
        moment = at + number * STEP
        made = envelopes(exchange, frame, parsed, int(moment.timestamp() * 1_000_000))
        said = [frame] if parsed is UNRECOGNISED else elements(frame) if made else []
        found += [Came(moment, one.symbol, text, encode(one)) for one, text in zip(made, said, strict=True)]
    return found


def rows(exchange: str, messages: list[Came]) -> pl.DataFrame:
    """Rows of trades_raw; every tenth message was delivered twice."""
    twice = [(number, one) for number, one in enumerate(messages) for _ in range(2 if number % 10 == 0 else 1)]
    times = pl.Series([one.at for _, one in twice], dtype=pl.Datetime("us", "UTC"))
    blank = ("trade_id", "price", "quantity", "timestamp_raw", "side", "sequence", "kind", "matches")
    return pl.DataFrame(
        {
            "exchange": [exchange] * len(twice),
            "symbol": [one.symbol for _, one in twice],
            **dict.fromkeys(blank, ""),
            "raw_json": [one.value for _, one in twice],
            "_topic": [f"market.crypto.trades.{exchange}.raw"] * len(twice),
            "_partition": pl.Series([0] * len(twice), dtype=pl.UInt32),
            "_offset": pl.Series([number for number, _ in twice], dtype=pl.UInt64),
            "published_at": times.dt.truncate("1ms"),
            "received_at": times,
            "ingested_at": times + timedelta(milliseconds=200),
        }
    )


@pytest.fixture(scope="module")
def recorded() -> dict[str, list[Came]]:
    binance = OURS["binance_spot_trades"].text().encode().splitlines()[:400]
    kraken = OURS["kraken_v2_btcusd"].text().encode().splitlines()
    return {
        "binance": came("binance", [*binance[:200], *HOSTILE, *binance[200:]], START),
        "kraken": came("kraken", kraken, START - timedelta(seconds=20)),
    }


@pytest.fixture
def settings(http_port: int, tmp_path: Path) -> Settings:
    """There is no cold table yet."""
    return new_settings(http_port, tmp_path)


@pytest.fixture
def page(settings: Settings, hot: HotTables, recorded: dict[str, list[Came]]) -> Iterator[str]:
    for exchange, messages in recorded.items():
        hot.insert("trades_raw", rows(exchange, messages))
    with running(settings.model_copy(update={"serving_raw": True})) as url:
        yield url


def ask(url: str, **options: Any) -> requests.Response:
    return requests.get(f"{url}/replay", params={"options": json.dumps(options)}, timeout=60)


def line(message: Came) -> bytes:
    """A line of Tardis Machine's."""
    text = message.said.decode("utf-8", "replace")
    encoding = b""
    if message.said.decode("utf-8", "ignore").encode() != message.said:
        said, encoding = json.dumps(base64.b64encode(message.said).decode()).encode(), b',"encoding":"base64"'
    elif is_json(text) and "\n" not in text:
        said = message.said
    else:
        said = json.dumps(text, ensure_ascii=False).encode()
    return b'{"localTimestamp":"%s0Z","message":%s%s}\n' % (f"{message.at:%FT%T.%f}".encode(), said, encoding)


def is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except ValueError:
        return False
    return True


def assert_whole(url: str, recorded: dict[str, list[Came]], **given: str) -> None:
    """Each exchange's whole hour."""
    for exchange, messages in recorded.items():
        answer = ask(url, exchange=exchange, **{"from": "2026-01-05 23:59", "to": "2026-01-06T00:59Z", **given})
        assert answer.status_code == 200, answer.text
        assert answer.content == b"".join(map(line, messages))


def assert_whole_and_in_parts(url: str, recorded: dict[str, list[Came]], spellings: int = 1) -> None:
    """Each exchange's whole hour, its two halves, and one market of it, by so many spellings of its symbol."""
    assert_whole(url, recorded)
    for exchange, messages in recorded.items():
        hour = {"from": "2026-01-05 23:59", "to": "2026-01-06T00:59Z"}
        times = sorted({one.at for one in messages})
        half = times[len(times) // 2]
        until = ask(url, exchange=exchange, **hour | {"to": half.isoformat()})
        since = ask(url, exchange=exchange, **hour | {"from": half.isoformat()})
        assert until.content + since.content == b"".join(map(line, messages))
        assert until.content.endswith(line([one for one in messages if one.at < half][-1]))
        for spelling in SYMBOLS[exchange][:spellings]:
            one = ask(url, exchange=exchange, **hour, filters=[{"channel": "trade", "symbols": [spelling]}])
            assert one.content == b"".join(line(m) for m in messages if m.symbol == SYMBOLS[exchange][0])


def test_the_bytes_come_back_in_order_wherever_they_are(
    page: str, settings: Settings, hot: HotTables, recorded: dict[str, list[Came]]
) -> None:
    assert_whole_and_in_parts(page, recorded, spellings=2)  # there is no cold table yet
    run(Tiers.open(settings), layers=("raw",))
    assert_whole(page, recorded)  # both tiers have all
    first_day = START.replace(hour=0, minute=0, second=0) + timedelta(days=3, seconds=1)
    close_gate(Tiers.open(settings), drop=True, tables=["trades_raw"], now=first_day)
    assert 0 < hot.count("trades_raw") < sum(rows(*one).height for one in recorded.items())
    assert_whole_and_in_parts(page, recorded)  # one day is hot, one cold
    Pins(ColdTier.open(settings)).create("backtest")
    close_gate(Tiers.open(settings), drop=True, tables=["trades_raw"], now=LATER)
    assert hot.count("trades_raw") == 0
    assert_whole_and_in_parts(page, recorded)  # all is cold
    refused = ask(page, exchange="binance", pin="backtest", **{"from": "2026-01-05", "to": "2026-01-06"})
    assert refused.status_code == 400
    assert "medallion pin show backtest --views" in refused.json()["msg"]
    Pins(ColdTier.open(settings)).publish("backtest", ClickHouseHttp(settings))
    more = [Came(START, "BTCUSDT", b"{}", b'{"exchange":"binance","payload":"{}"}')]
    hot.insert("trades_raw", rows("binance", more).with_columns(pl.col("_offset") + 1_000_000))
    run(Tiers.open(settings), layers=("raw",), again=True)
    assert_whole(page, recorded, pin="backtest")  # what came since the pin is not in it


def test_what_a_window_lacks_is_said(page: str, hot: HotTables) -> None:
    gap = {"exchange": "binance", "symbol": "BTCUSDT", "exchange_symbol": "BTCUSDT", "ids_missing": 7, "ids_open": 7}
    times = {"from_time": START, "to_time": START + timedelta(seconds=1), "detected_at": START, "noted_at": START}
    frame = pl.DataFrame([{**gap, "from_id": "1", "to_id": "7", "state": "open", **times}])
    hot.insert("producer_gaps_log", frame.with_columns(pl.col("ids_missing", "ids_open").cast(pl.UInt64)))
    window = {"from": "2026-01-05T23:00", "to": "2026-01-06T01:00"}
    answer = ask(page, exchange="binance", **window)
    said = json.loads(answer.headers["X-Medallion-Missing"])
    assert said == [
        "BTCUSDT: open gap of 7 trades from 2026-01-05T23:59:58.000+00:00 to 2026-01-05T23:59:59.000+00:00."
    ]
    assert json.loads(ask(page, exchange="kraken", **window).headers["X-Medallion-Missing"]) == []
    coming = ask(page, exchange="kraken", **{"from": "2199-01-01", "to": "2199-01-02"})
    assert (coming.content, json.loads(coming.headers["X-Medallion-Missing"])[0][:21]) == (b"", "What comes after now:")


def test_raw_messages_are_closed_unless_they_are_opened(settings: Settings, hot: HotTables) -> None:
    del hot
    with running(settings) as url:
        answer = ask(url, exchange="binance", **{"from": "2026-01-05", "to": "2026-01-06"})
    assert answer.status_code == 403
    assert "MEDALLION_SERVING_RAW" in answer.json()["msg"]
