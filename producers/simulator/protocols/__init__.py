"""The exchange's side of a connection, by exchange code. Imports nothing from other folders."""

from __future__ import annotations

from collections.abc import Callable, Set

from producers.simulator.protocols.binance import Binance
from producers.simulator.protocols.bybit import Bybit
from producers.simulator.protocols.coinbase import Coinbase
from producers.simulator.protocols.kraken import Kraken
from producers.simulator.protocols.model import ExchangeProtocol
from producers.simulator.protocols.okx import Okx

# Called with the symbols that the exchange does not have.
PROTOCOLS: dict[str, Callable[[Set[str]], ExchangeProtocol]] = {
    "binance": Binance,
    "binance_usdm": Binance,
    "binance_coinm": Binance,
    "kraken": Kraken,
    "bybit": Bybit,
    "bybit_linear": Bybit,
    "okx": Okx,
    "coinbase": Coinbase,
}
