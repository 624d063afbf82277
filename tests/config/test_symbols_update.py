"""Invariants: a market is never removed, a name never changes by itself, and tickers that were reused are an error."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Any

import ccxt
import pytest
import yaml

from config.market_lists import MarketListError, markets_of
from config.registry import DELISTED, HALTED, Entry, RegistryError, SymbolRegistry, SymbolsFile
from config.symbols_build import markets_to_symbols, render
from config.symbols_check import ERROR, WARNING, findings
from config.symbols_update import update
from tests.producers import market_lists

TODAY = date(2026, 11, 21)
BEFORE = date(2026, 1, 1)


def asked(name: str, answers: dict[str, object]) -> list[Any]:
    """What real ccxt makes of an exchange's own answers."""
    exchange = getattr(ccxt, name)({"number": str})
    exchange.session.trust_env = False

    def redirected(node: Any, url: str) -> Any:
        if isinstance(node, dict):
            return {key: redirected(child, url) for key, child in node.items()}
        return url + "/" + node.split("/", 3)[3] if isinstance(node, str) and node.count("/") > 2 else url

    with market_lists.answering(answers) as url:
        exchange.urls["api"] = redirected(exchange.urls["api"], url)
        return [*markets_of(exchange)]


SPOT = market_lists.binance(
    market_lists.binance_spot("BTCUSDT", "BTC", "USDT"),
    market_lists.binance_spot("SHIBUSDT", "SHIB", "USDT", tick="0.00000001", lot="1.00", quantity_max="46116860414.00"),
    market_lists.binance_spot("OLDUSDT", "OLD", "USDT", status="BREAK"),
)


def test_an_exchange_s_own_market_list_through_ccxt() -> None:
    entries = markets_to_symbols("binance", asked("binanceus", {"/api/v3/exchangeInfo": SPOT}), halted=True)
    assert {name: (entry["canonical"], entry["kind"], entry["status"]) for name, entry in entries.items()} == {
        "BTCUSDT": ("BTCUSDT", "spot", "active"),
        "OLDUSDT": ("OLDUSDT", "spot", "halted"),
        "SHIBUSDT": ("SHIBUSDT", "spot", "active"),
    }
    shib = Entry.model_validate(entries["SHIBUSDT"])
    assert (shib.tick, shib.lot, shib.quantity_min, shib.notional_min, shib.quantity_max) == (
        Decimal("0.00000001"), Decimal(1), Decimal(1), Decimal(5), Decimal("46116860414.00"),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("code", "name", "answers", "expected"),
    [
        (
            "kraken",
            "kraken",
            market_lists.KRAKEN,
            {
                "BTC/USD": ("BTCUSD", "spot", "0.1"),
                "BTC/USDT": ("BTCUSDT", "spot", "0.1"),
                "DOGE/USD": ("DOGEUSD", "spot", "0.0000001"),
            },
        ),
        (
            "bybit_linear",
            "bybit",
            {"/v5/market/instruments-info": market_lists.bybit},
            {f"{base}USDT": (f"{base}USDT", "linear", "0.10") for base in ("BTC", "DOGE", "ETH", "SOL")},
        ),
        (
            "okx",
            "okx",
            {"/api/v5/public/instruments": market_lists.okx},
            {
                "BTC-USDT": ("BTCUSDT", "spot", "0.1"),
                "UNI-USD-SWAP": ("UNIUSD-SWAP", "inverse", "0.1"),
                "BTC-USD-220527": ("BTCUSD-220527", "inverse_future", "0.1"),
            },
        ),
        (
            "myokx",
            "myokx",
            {"/api/v5/public/instruments": market_lists.okx},
            {
                "BTC/USDT": ("BTCUSDT", "spot", "0.1"),
                "UNI/USD:UNI": ("UNIUSD-SWAP", "inverse", "0.1"),
            },
        ),
    ],
)
def test_names_kinds_and_steps_of_each_venue(
    code: str, name: str, answers: dict[str, object], expected: dict[str, tuple[str, str, str]]
) -> None:
    entries = markets_to_symbols(code, asked(name, answers))
    got = {symbol: (entry["canonical"], entry["kind"], Decimal(entry["tick"])) for symbol, entry in entries.items()}
    assert got == {symbol: (canonical, kind, Decimal(tick)) for symbol, (canonical, kind, tick) in expected.items()}


def test_an_exchange_that_does_not_answer_is_said_with_what_to_do() -> None:
    with pytest.raises(MarketListError, match=r"kraken gave no market list.*--markets"):
        asked("kraken", {})


def market(symbol: str, **more: Any) -> dict[str, Any]:
    base, quote = symbol.split("/")
    return {"id": base + quote, "symbol": symbol, "base": base, "quote": quote, "type": "spot", **more}


def entry(symbol: str, **more: Any) -> dict[str, Any]:
    base, quote = symbol.split("/")
    return {"canonical": base + quote, "base": base, "quote": quote, **more}


GONE = {"status": DELISTED, "delisted_on": BEFORE}


def file(**entries: dict[str, Any]) -> SymbolsFile:
    return SymbolRegistry.of({"version": 3, "exchanges": {"binance": entries, "okx": {"X-Y": entry("X/Y")}}}).content


def test_what_is_gone_is_marked_and_stays_and_other_exchanges_stay_as_they_are() -> None:
    before = file(
        AC=entry("A/C"), BC=entry("B/C", quantity_max=7), DC=entry("D/C", status=DELISTED, delisted_on=BEFORE)
    )
    after, changes = update(before, {"binance": [market("A/C"), market("N/C")]}, TODAY)
    binance = after.exchanges["binance"]
    assert {name: (one.status, one.delisted_on) for name, one in binance.items()} == {
        "AC": ("active", None),
        "BC": (DELISTED, TODAY),
        "DC": (DELISTED, BEFORE),
        "NC": ("active", None),
    }
    assert binance["BC"].quantity_max == 7
    assert (after.version, after.exchanges["okx"]) == (3, before.exchanges["okx"])
    assert {change.symbol: change.what for change in changes} == {"AC": "changed", "BC": "delisted", "NC": "new"}
    again, changes = update(after, {"binance": [market("A/C"), market("N/C")]}, date(2027, 1, 1))
    assert (again, changes) == (after, [])
    assert SymbolRegistry.of(SymbolsFile.model_validate(after.model_dump()).model_dump()).content == after
    assert SymbolRegistry.of(yaml.safe_load(render(after))).content == after


def test_names_stay_maxima_are_only_raised_and_descriptions_follow_the_list() -> None:
    before = file(
        AC=entry("A/C", canonical="AC-OLD", aliases=["ALIAS"], quantity_max=10**6, lot="0.5", tick="0.1"),
        BC=entry("B/C", price_max=2 * 10**6),
    )  # fmt: skip
    limits = {"limits": {"amount": {"max": "200000", "min": "0.01"}, "price": {"max": "5000000"}, "cost": {"min": "5"}}}
    listed = [
        market("A/C", precision={"price": "0.01", "amount": None}, **limits),
        market("B/C", active=False, **limits),
        market("Z/C", id="ALIAS"),
    ]
    after, changes = update(before, {"binance": listed}, TODAY)
    one, other = after.exchanges["binance"]["AC"], after.exchanges["binance"]["BC"]
    assert (one.canonical, one.aliases, one.kind) == ("AC-OLD", ("ALIAS",), "spot")
    assert (one.quantity_max, one.price_max) == (10**6, 5 * 10**6)
    assert (one.tick, one.lot, one.quantity_min, one.notional_min) == (
        Decimal("0.01"), Decimal("0.5"), Decimal("0.01"), 5,
    )  # fmt: skip
    assert (other.status, other.price_max, other.delisted_on) == (HALTED, 5 * 10**6, None)
    assert {change.symbol: change.what for change in changes} == {"AC": "changed", "BC": "halted"}
    assert "ALIAS" not in after.exchanges["binance"]


MANY = {f"S{number}C": entry(f"S{number}/C") for number in range(20)}
DOUBTS: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "relisted": (
        {"AC": entry("A/C", **GONE)},
        [market("A/C")],
        "'AC', delisted on 2026-01-01, is listed.*pinned",
    ),
    "reused": ({"AC": entry("A/C")}, [market("A2/C", id="AC")], "'AC' is A/C in the file and A2/C on the list.*pinned"),
    "renamed": ({"OLD": entry("A/C", **GONE)}, [market("A/C")], "both map to 'AC'.*took over the ticker"),
    "twice": ({}, [market("A/C"), market("A/C", baseId="XA")], "'AC' twice.*two assets of one ticker"),
    "collision": ({}, [market("A/C"), market("A/C", id="A_C")], "'AC' and 'A_C' both map to 'AC'"),
    "truncated": (MANY, [market("S1/C")], "lacks 19 of 20 markets.*--many-delisted"),
}


@pytest.mark.parametrize(("known", "listed", "message"), DOUBTS.values(), ids=DOUBTS)
def test_what_may_be_another_asset_is_an_error_that_says_what_to_do(
    known: dict[str, Any], listed: list[Any], message: str
) -> None:
    with pytest.raises(RegistryError, match=message):
        update(file(**known), {"binance": listed}, TODAY)


def test_a_pinned_entry_is_right_and_many_may_be_delisted_when_said() -> None:
    after, _ = update(file(AC=entry("A/C", pinned=True)), {"binance": [market("A2/C", id="AC")]}, TODAY)
    assert after.exchanges["binance"]["AC"].base == "A"
    after, changes = update(file(**MANY), {"binance": []}, TODAY, many_delisted=True)
    assert [change.what for change in changes] == [DELISTED] * 20


DESCRIPTION = {
    "kind": "linear", "tick": "0.1", "lot": "1", "quantity_min": "1", "notional_min": "5", "status": DELISTED,
    "delisted_on": "2026-01-01", "pinned": True,
}  # fmt: skip


@pytest.mark.parametrize("field", DESCRIPTION)
def test_a_description_changes_no_judgement(field: str) -> None:
    plain = SymbolRegistry.of({"version": 1, "exchanges": {"binance": {"AC": entry("A/C")}}})
    described = SymbolRegistry.of(
        {"version": 1, "exchanges": {"binance": {"AC": entry("A/C", **{field: DESCRIPTION[field]})}}}
    )
    assert described.rules_version == plain.rules_version
    assert described.document == plain.document
    assert described.lookup == plain.lookup
    assert described.content != plain.content


CHECKS: list[tuple[dict[str, Any], str, str]] = [
    (entry("A/C", status=DELISTED), ERROR, "without a day"),
    (entry("A/C", delisted_on="2026-01-01"), ERROR, "take one of the two out"),
    (entry("A/C", status=DELISTED, delisted_on="2027-01-01"), ERROR, "yet to come"),
    (entry("A/C", tick="1e-19"), ERROR, "finer than the 18 decimals"),
    (entry("A/C", tick="2", price_max="1"), ERROR, "raise price_max"),
    (entry("A/C", quantity_min="2", quantity_max="1"), ERROR, "raise quantity_max"),
    (entry("A/C", notional_min="1e12"), ERROR, "notional_min"),
    (entry("A/C", quantity_max="1e21"), WARNING, "20 digits"),
]


@pytest.mark.parametrize(("one", "level", "message"), CHECKS, ids=[message for _, _, message in CHECKS])
def test_what_a_file_that_loads_may_have_wrong(one: dict[str, Any], level: str, message: str) -> None:
    found = findings(SymbolRegistry.of({"version": 1, "exchanges": {"binance": {"AC": one}}}), TODAY)
    assert [(finding.level, finding.symbol) for finding in found] == [(level, "AC")]
    assert message in found[0].message


def test_one_canonical_name_of_two_pairs_is_an_error_across_exchanges() -> None:
    exchanges = {"binance": {"A": entry("A/BC")}, "kraken": {"B": entry("AB/C")}}
    (found,) = findings(SymbolRegistry.of({"version": 1, "exchanges": exchanges}), TODAY)
    assert (found.level, found.exchange) == (ERROR, "kraken")
    assert "A/BC for 'A' of binance: give one of them a suffix" in found.message


def test_nothing_is_wrong_with_a_file_that_build_made() -> None:
    after, _ = update(SymbolsFile(version=1, exchanges={}), {"kraken": asked("kraken", market_lists.KRAKEN)}, TODAY)
    assert findings(SymbolRegistry.of(after.model_dump()), TODAY) == []
