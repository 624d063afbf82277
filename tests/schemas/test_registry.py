"""The symbols file: checked on load, versions its content, never maps two markets to one name."""

from __future__ import annotations

import copy
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from config.registry import RegistryError, SymbolRegistry, SymbolsFile
from config.settings import DEFAULT_EXCHANGES, DEFAULT_SYMBOLS_FILE
from config.symbols.build import UnknownSourceError, markets_to_symbols, render
from tests.recorded import OTHERS, OURS

BTC = {"canonical": "BTCUSDT", "base": "BTC", "quote": "USDT"}
SMALL: dict[str, Any] = {"version": 1, "exchanges": {"binance": {"BTCUSDT": BTC}}}


def changed(change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    document = copy.deepcopy(SMALL)
    change(document)
    return document


def test_shipped_file_covers_every_exchange_and_has_room_for_cheap_coins() -> None:
    registry = SymbolRegistry.load(DEFAULT_SYMBOLS_FILE)
    assert registry.exchanges == set(DEFAULT_EXCHANGES)
    table = pl.DataFrame(registry.lookup)
    limit = dict(table.filter(exchange="binance").select("exchange_symbol", "quantity_max").iter_rows())
    assert limit["BTCUSDT"] == "100000"
    assert all(int(limit[symbol]) > 10**8 for symbol in ("SHIBUSDT", "PEPEUSDT", "DOGEUSDT"))
    kraken = dict(table.filter(exchange="kraken").select("exchange_symbol", "canonical").iter_rows())
    assert kraken["BTC/USD"] == kraken["XBT/USD"] == "BTCUSD"


def test_shipped_file_maps_every_recorded_symbol() -> None:
    lookup = pl.DataFrame(SymbolRegistry.load(DEFAULT_SYMBOLS_FILE).lookup)
    known = set(lookup.select("exchange", "exchange_symbol").iter_rows())
    for recorded in (*OURS.values(), *OTHERS.values()):
        for symbol in recorded.trades()["symbol"].unique():
            assert (recorded.code, symbol) in known, recorded.path


def test_rules_version_follows_content_only() -> None:
    base = SymbolRegistry.of(SMALL).rules_version
    assert base.startswith("1-")
    reordered = changed(lambda d: d["exchanges"].update(binance={"BTCUSDT": dict(reversed(BTC.items()))}))
    assert SymbolRegistry.of(reordered).rules_version == base
    limited = changed(lambda d: d["exchanges"]["binance"]["BTCUSDT"].update(price_max=5))
    bumped = changed(lambda d: d.update(version=2))
    defaults = changed(lambda d: d.update(defaults={"price_max": 7, "quantity_max": 100000}))
    versions = {SymbolRegistry.of(d).rules_version for d in (SMALL, limited, bumped, defaults)}
    assert len(versions) == 4


def test_lookup_holds_limits_as_exact_text_and_aliases_as_rows() -> None:
    document = changed(lambda d: d["exchanges"]["binance"]["BTCUSDT"].update(price_max="0.1", aliases=["XBTUSDT"]))
    lookup = SymbolRegistry.of(document).lookup
    assert [row["exchange_symbol"] for row in lookup] == ["BTCUSDT", "XBTUSDT"]
    assert [row["price_max"] for row in lookup] == ["0.1", "0.1"]
    assert SymbolRegistry.of({"version": 1, "exchanges": {}}).lookup == []


def _binance(name: str, **entry: Any) -> Callable[[dict[str, Any]], object]:
    return lambda document: document["exchanges"]["binance"].update({name: BTC | entry})


FAULTS: list[tuple[Callable[[dict[str, Any]], object], str]] = [
    (_binance("BTC-USDT"), "'BTCUSDT' and 'BTC-USDT' both map to 'BTCUSDT'"),
    (_binance("X", canonical="XUSDT"), "exchanges.binance.X: .*'BTCUSDT'"),
    (_binance("X", canonical="btcusdt", base="btc", quote="usdt"), "exchanges.binance.X"),
    (_binance("X", price_max=0), "exchanges.binance.X.price_max"),
    (_binance("X", price_max="nan"), "exchanges.binance.X.price_max"),
    (_binance("X", price_max="1e1000"), "exchanges.binance.X.price_max: .*1,000 digits"),
    (_binance("X", tick="1e-999999999"), "exchanges.binance.X.tick: .*1,000 digits"),
    (_binance("X", quantity_max="much"), "exchanges.binance.X.quantity_max"),
    (_binance("X", base=True), "exchanges.binance.X.base"),
    (_binance("X", typo=1), "exchanges.binance.X.typo"),
    (_binance("X", canonical="BTCUSDT-1", aliases=["BTCUSDT"]), "'BTCUSDT' is given twice"),
    (_binance(" ", canonical="BTCUSDT-1"), "no blank, hidden, control or markup"),
    (lambda d: d.update(version="one"), "version"),
    (lambda d: d.pop("version"), "version"),
    (lambda d: d["exchanges"].update({"Bin ance": {}}), "exchanges.'Bin ance'"),
]


@pytest.mark.parametrize(("change", "message"), FAULTS, ids=[message for _, message in FAULTS])
def test_a_faulty_entry_is_named(change: Callable[[dict[str, Any]], object], message: str) -> None:
    with pytest.raises(RegistryError, match=message):
        SymbolRegistry.of(changed(change))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("version: 1\nexchanges:\n  a:\n    B: {canonical: BC, base: B, quote: C}\n    B: {}\n", "'B' is given twice"),
        ("version: [", "not a valid YAML"),
        ("", "SymbolsFile|valid dictionary"),
    ],
)
def test_a_faulty_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "symbols.yaml"
    path.write_text(text)
    with pytest.raises(RegistryError, match=message) as caught:
        SymbolRegistry.load(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_says_which_variable_to_set(tmp_path: Path) -> None:
    with pytest.raises(RegistryError, match="MEDALLION_SYMBOLS_FILE"):
        SymbolRegistry.load(tmp_path / "none.yaml")


OKX = {
    "BTC/USDT": {"id": "BTC-USDT", "symbol": "BTC/USDT", "base": "BTC", "quote": "USDT", "type": "spot"},
    "BTC/USDT:USDT": {
        "id": "BTC-USDT-SWAP",
        "symbol": "BTC/USDT:USDT",
        "base": "BTC",
        "quote": "USDT",
        "settle": "USDT",
        "type": "swap",
    },
    "BTC/USD:BTC": {
        "id": "BTC-USD-SWAP",
        "symbol": "BTC/USD:BTC",
        "base": "BTC",
        "quote": "USD",
        "settle": "BTC",
        "type": "swap",
    },
    "BTC/USD:BTC-220527": {
        "id": "BTC-USD-220527",
        "symbol": "BTC/USD:BTC-220527",
        "base": "BTC",
        "quote": "USD",
        "settle": "BTC",
        "type": "future",
    },
    "BTC/USD:BTC-220527-30000-C": {
        "id": "opt",
        "symbol": "BTC/USD:BTC-220527-30000-C",
        "base": "BTC",
        "quote": "USD",
        "type": "option",
    },
    "OLD/USDT": {
        "id": "OLD-USDT",
        "symbol": "OLD/USDT",
        "base": "OLD",
        "quote": "USDT",
        "type": "spot",
        "active": False,
    },
}


def test_ccxt_markets_become_entries_without_collisions() -> None:
    listed = markets_to_symbols("okx", OKX)
    assert listed.left_out == []
    assert {name: entry.canonical for name, entry in listed.entries.items()} == {
        "BTC-USDT": "BTCUSDT",
        "BTC-USDT-SWAP": "BTCUSDT-SWAP",
        "BTC-USD-SWAP": "BTCUSD-SWAP",
        "BTC-USD-220527": "BTCUSD-220527",
    }


def test_ccxt_names_and_limits() -> None:
    shib = {"id": "SHIBUSD", "symbol": "SHIB/USD", "base": "SHIB", "quote": "USD", "type": "spot"}
    shib |= {"limits": {"amount": {"max": 1e12}, "price": {"max": 10.0}}}
    entries = markets_to_symbols("kraken", {"SHIB/USD": shib}).entries
    assert list(entries) == ["SHIB/USD"]
    assert entries["SHIB/USD"].quantity_max == Decimal("1000000000000")
    assert entries["SHIB/USD"].price_max is None
    perpetual = {"id": "BTCUSDT", "symbol": "BTC/USDT:USDT", "base": "BTC", "quote": "USDT", "settle": "USDT"}
    entries = markets_to_symbols("binance_usdm", {"BTC/USDT:USDT": perpetual | {"type": "swap"}}).entries
    assert entries["BTCUSDT"].canonical == "BTCUSDT"
    text = render(SymbolsFile(version=4, exchanges={"binance_usdm": entries}))
    assert "version: 4" in text


def test_ccxt_markets_that_collide_are_left_out_both() -> None:
    """Nobody could tell their trades apart; the others are listed all the same."""
    twin = OKX["BTC/USDT"] | {"id": "BTC_USDT", "symbol": "BTC/USDT-2"}
    listed = markets_to_symbols("okx", {**OKX, "twin": twin})
    assert {one.symbol for one in listed.left_out} == {"BTC-USDT", "BTC_USDT"}
    assert all("would both be 'BTCUSDT'" in one.why for one in listed.left_out)
    assert set(listed.entries) == {"BTC-USDT-SWAP", "BTC-USD-SWAP", "BTC-USD-220527"}
    with pytest.raises(UnknownSourceError, match="mtgox"):
        markets_to_symbols("mtgox", {})
