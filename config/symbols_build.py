"""Symbol registry entries from ccxt's market lists (`medallion symbols build`)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any

import ccxt
import yaml

from config.errors import MedallionError
from config.registry import Defaults, RegistryError, SymbolRegistry

# Exchange code → ccxt class and the ccxt market types that the code's stream carries.
SOURCES: Mapping[str, tuple[str, frozenset[str]]] = {
    "binance": ("binance", frozenset({"spot"})),
    "binance_usdm": ("binanceusdm", frozenset({"swap", "future"})),
    "binance_coinm": ("binancecoinm", frozenset({"swap", "future"})),
    "kraken": ("kraken", frozenset({"spot"})),
    "bybit": ("bybit", frozenset({"spot"})),
    "bybit_linear": ("bybit", frozenset({"swap", "future"})),
    "okx": ("okx", frozenset({"spot", "swap", "future"})),
    "coinbase": ("coinbase", frozenset({"spot"})),
}
# The name a stream uses, where ccxt's `id` is that of another interface (Kraken: REST `XXBTZUSD`, v2 `BTC/USD`).
_NAMED_BY_SYMBOL = frozenset({"kraken"})


class UnknownSourceError(MedallionError):
    """No ccxt source is known for an exchange code: add it to `config.symbols_build.SOURCES`."""


def _source(exchange: str) -> tuple[str, frozenset[str]]:
    if exchange not in SOURCES:
        message = f"no ccxt source for {exchange!r}: choose of {', '.join(SOURCES)}, or add it to SOURCES"
        raise UnknownSourceError(message)
    return SOURCES[exchange]


def _belongs(exchange: str, market: Mapping[str, Any]) -> bool:
    _, types = _source(exchange)
    if exchange == "bybit_linear" and not market.get("linear"):
        return False
    return market.get("type") in types and market.get("active") is not False


def _suffix(market: Mapping[str, Any], beside_spot: bool) -> str:
    if market["type"] == "future":
        # ccxt: BTC/USD:BTC-240927
        return "-" + str(market["symbol"]).rsplit("-", 1)[-1]
    return "-SWAP" if market["type"] == "swap" and beside_spot else ""


def _settled(market: Mapping[str, Any]) -> str:
    settle = str(market.get("settle") or market["quote"]).upper()
    return "" if settle in (str(market["quote"]).upper(), str(market["base"]).upper()) else f"-{settle}"


def markets_to_symbols(exchange: str, markets: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """Registry entries (exchange symbol → fields of `config.registry.Entry`) of ccxt's `load_markets()`.

    Spot, and perpetuals of a code without spot, are base + quote; a perpetual beside spot ends in `-SWAP`, a dated
    contract in `-YYMMDD`, either followed by `-<settle asset>` where that is neither base nor quote. Limits are
    the market's own maximum order where the exchange states one above the default.

    Raises:
        UnknownSourceError: the exchange code has no ccxt source.
        RegistryError: two markets would share one canonical symbol.
    """
    beside_spot = "spot" in _source(exchange)[1]
    entries: dict[str, dict[str, Any]] = {}
    for market in sorted(markets.values(), key=lambda market: str(market["symbol"])):
        if not _belongs(exchange, market):
            continue
        base, quote = str(market["base"]).upper(), str(market["quote"]).upper()
        name = str(market["symbol"] if exchange in _NAMED_BY_SYMBOL else market["id"])
        if name in entries:
            message = f"exchanges.{exchange}: ccxt lists the exchange symbol {name!r} twice"
            raise RegistryError(message)
        canonical = base + quote + _suffix(market, beside_spot) + _settled(market)
        entries[name] = {"canonical": canonical, "base": base, "quote": quote, **_limits(market)}
    SymbolRegistry.of({"version": 1, "exchanges": {exchange: entries}})
    return entries


def _limits(market: Mapping[str, Any]) -> dict[str, Decimal]:
    stated = market.get("limits") or {}
    found: dict[str, Decimal] = {}
    for field, key, default in (
        ("price_max", "price", Defaults().price_max),
        ("quantity_max", "amount", Defaults().quantity_max),
    ):
        maximum = (stated.get(key) or {}).get("max")
        if maximum is not None and Decimal(str(maximum)) > default:
            found[field] = Decimal(str(maximum))
    return found


def build(exchanges: Iterable[str]) -> dict[str, Any]:
    """A symbols document of the exchanges' public market lists (network; no keys needed).

    Raises:
        UnknownSourceError: an exchange code has no ccxt source.
        RegistryError: two markets of one code would share one canonical symbol.
        ccxt.BaseError: an exchange cannot be reached or refuses.
    """
    return {
        "version": 1,
        "exchanges": {
            exchange: markets_to_symbols(exchange, getattr(ccxt, _source(exchange)[0])().load_markets())
            for exchange in exchanges
        },
    }


def render(document: Mapping[str, Any]) -> str:
    """A symbols document as YAML text that `SymbolRegistry.load` reads back equal."""
    plain = SymbolRegistry.of(document).content.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump({"version": document["version"], **plain}, allow_unicode=True, sort_keys=False, width=200)
