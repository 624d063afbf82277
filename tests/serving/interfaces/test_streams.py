"""What a stream's name stands for."""

from __future__ import annotations

import pytest

from config.settings import Settings
from serving.live.streams import StreamError, parse
from serving.market_data.candles import Market
from serving.market_data.markets import Markets

MARKETS = Markets(Settings().symbols_file)


@pytest.mark.parametrize(
    ("channel", "binances", "market"),
    [
        ("binance:spot:ohlcv:1m:BTC-USDT", "btcusdt@kline_1m", ("binance", "BTCUSDT")),
        ("binance:usdm:ohlcv:1M:btc-usdt", "btcusdt@kline_1M", ("binance_usdm", "BTCUSDT")),
        ("kraken:spot:trades:BTC-USD", "btcusd@trade", ("kraken", "BTCUSD")),
        ("bybit:linear:ticker:BTC-USDT", "btcusdt@miniTicker", ("bybit_linear", "BTCUSDT")),
        ("okx:spot:trades:UNI-USD-SWAP", "uniusd-swap@trade", ("okx", "UNIUSD-SWAP")),
    ],
)
def test_a_channel_is_the_stream_of_its_exchange(channel: str, binances: str, market: Market) -> None:
    found, same = parse(channel, "coinbase", MARKETS), parse(binances, market[0], MARKETS)
    assert (found.name, found.market) == (channel, market)
    assert (found.market, found.kind, found.interval) == (same.market, same.kind, same.interval)


@pytest.mark.parametrize(
    "name",
    [
        "binance:spot:ohlcv:1m:BTCUSDT-",
        "binance:spot:ohlcv:1s:BTC-USDT",
        "binance:spot:ohlcv:BTC-USDT",
        "binance:moon:trades:BTC-USDT",
        "spot:trades:BTC-USDT",
        "binance:spot:depth:BTC-USDT",
        "::::",
        "btcusdt@depth",
        "nosuch@trade",
    ],
)
def test_what_is_no_stream_is_refused(name: str) -> None:
    with pytest.raises(StreamError, match="Invalid request"):
        parse(name, "binance", MARKETS)
