"""The registry: exchange code to the exchange's side of a connection."""

from __future__ import annotations

from collections.abc import Callable, Set

from producers.simulator.venues.binance import Binance
from producers.simulator.venues.bybit import Bybit
from producers.simulator.venues.coinbase import Coinbase
from producers.simulator.venues.kraken import Kraken
from producers.simulator.venues.model import Venue
from producers.simulator.venues.okx import Okx

#: Each takes the symbols that it does not have.
VENUES: dict[str, Callable[[Set[str]], Venue]] = {
    "binance": Binance,
    "binance_usdm": Binance,
    "binance_coinm": Binance,
    "kraken": Kraken,
    "bybit": Bybit,
    "bybit_linear": Bybit,
    "okx": Okx,
    "coinbase": Coinbase,
}
