"""Invariants: a market is never removed, a name never changes by itself, and tickers that were reused are an error."""

from __future__ import annotations

import re
from datetime import date
from decimal import Decimal
from typing import Any

import ccxt
import pytest
import yaml

from config.registry import DELISTED, HALTED, RegistryError, SymbolRegistry, SymbolsFile
from config.symbols.build import markets_to_symbols, render
from config.symbols.check import ERROR, WARNING, findings
from config.symbols.market_lists import MarketListError, markets_of
from config.symbols.update import LEFT_OUT, update
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
    listed = markets_to_symbols("binance", asked("binanceus", {"/api/v3/exchangeInfo": SPOT}), halted=True)
    entries = listed.entries
    assert {name: (entry.canonical, entry.kind, entry.status) for name, entry in entries.items()} == {
        "BTCUSDT": ("BTCUSDT", "spot", "active"),
        "OLDUSDT": ("OLDUSDT", "spot", "halted"),
        "SHIBUSDT": ("SHIBUSDT", "spot", "active"),
    }
    shib = entries["SHIBUSDT"]
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
    entries = markets_to_symbols(code, asked(name, answers)).entries
    got = {symbol: (entry.canonical, entry.kind, entry.tick) for symbol, entry in entries.items()}
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


def test_the_life_of_a_market_is_kept() -> None:
    """Listed by the exchange's list; halted and delisted on the days on which the list said so first."""
    bybit = asked("bybit", {"/v5/market/instruments-info": market_lists.bybit})
    # launchTime 1585526400000 in market_lists.bybit_linear.
    assert markets_to_symbols("bybit_linear", bybit).entries["BTCUSDT"].listed_on == date(2020, 3, 30)
    strange = [
        market("A/C", created=1), market("B/C", created="soon"), market("D/C", created=None),
        market("E/C", created=7_258_118_400_000),
    ]  # fmt: skip
    assert {one.listed_on for one in markets_to_symbols("binance", strange).entries.values()} == {None}

    def step(before: SymbolsFile, listed: list[Any], day: int) -> tuple[SymbolsFile, tuple[Any, ...]]:
        after, _ = update(before, {"binance": listed}, date(2026, 11, day))
        # What is written is what is read again.
        after = SymbolRegistry.of(yaml.safe_load(render(after))).content
        one = after.exchanges["binance"]["AC"]
        return after, (one.status, one.listed_on, one.halted_on, one.delisted_on)

    listed = date(2021, 1, 2)
    trading = market("A/C", created=1_609_545_600_000)
    file, life = step(SymbolsFile(version=1, exchanges={}), [trading], 1)
    assert life == ("active", listed, None, None)
    file, life = step(file, [market("A/C", active=False)], 2)
    assert life == ("halted", listed, date(2026, 11, 2), None), "the list need not repeat the first day"
    file, life = step(file, [market("A/C", active=False)], 3)
    assert life == ("halted", listed, date(2026, 11, 2), None)
    resumed, life = step(file, [trading], 4)
    assert life == ("active", listed, None, None)
    assert findings(SymbolRegistry(resumed), TODAY) == []
    file, life = step(file, [], 5)
    assert life == ("delisted", listed, date(2026, 11, 2), date(2026, 11, 5))
    before = SymbolRegistry(resumed).rules_version
    assert SymbolRegistry(file).rules_version == before, "nothing of this changes what Silver does"


MANY = {f"S{number}C": entry(f"S{number}/C") for number in range(20)}
DOUBTS: dict[str, tuple[dict[str, Any], list[Any], str]] = {
    "relisted": (
        {"AC": entry("A/C", **GONE)},
        [market("A/C")],
        "'AC', delisted on 2026-01-01, is listed.*pinned",
    ),
    "reused": ({"AC": entry("A/C")}, [market("A2/C", id="AC")], "'AC' is A/C in the file and A2/C on the list.*pinned"),
    "renamed": ({"OLD": entry("A/C", **GONE)}, [market("A/C")], "both map to 'AC'.*took over the ticker"),
    "truncated": (MANY, [market("S1/C")], "lacks 19 of 20 markets.*--many-delisted"),
}


@pytest.mark.parametrize(("known", "listed", "message"), DOUBTS.values(), ids=DOUBTS)
def test_what_may_be_another_asset_is_an_error_that_says_what_to_do(
    known: dict[str, Any], listed: list[Any], message: str
) -> None:
    with pytest.raises(RegistryError, match=message):
        update(file(**known), {"binance": listed}, TODAY)


# A market list's entry of which no registry entry can be made, and what is said of it.
BAD: dict[str, tuple[list[Any], str]] = {
    "hyphen": ([market("A-B/C", id="ABC")], "the asset 'A-B' has a character that separates assets"),
    "control": ([market("A/C", id="A\x1b[31mC")], r"the name 'A\\x1b\[31mC' is not one"),
    "direction": ([market("A\u202eB/C")], r"A\\u202eB"),
    "zero width": ([market("A\u200bB/C")], r"A\\u200bB"),
    "blank letter": ([market("A\u3164/C")], r"A\\u3164"),
    "markup": ([market("<b>A/C")], "the name '<B>A' is not one"),
    "rich markup": ([market("[red]A/C")], "the name"),
    "trailing space": ([market("A/C", id="AC ")], "the name 'AC ' is not one"),
    "empty": ([market("/C", id="")], "the name '' is not one"),
    "no id": ([{"symbol": "A/C", "base": "A", "quote": "C", "type": "spot"}], "string"),
    "nothing": ([{"symbol": "A/C", "id": "AC", "type": "spot"}], "KeyError"),
    "no type": ([{"symbol": "A/C", "id": "AC"}, market("B/C", type=None), {}], "no market with a type"),
    "a list for limits": ([market("A/C", limits=[1])], "AttributeError"),
    "endless": ([market("A" * 200 + "/C")], "the name"),
    "one name for two assets": ([market("A/C"), market("A/C", baseId="XA")], "listed 2 times.*one ticker"),
    "one pair, two names": ([market("A/C"), market("A/C", id="A_C")], "'AC' and 'A_C' would both be 'AC'"),
}  # fmt: skip


@pytest.mark.parametrize(("listed", "why"), BAD.values(), ids=BAD)
def test_one_bad_market_is_left_out_and_named_and_the_others_are_built(listed: list[Any], why: str) -> None:
    good = [market("B/D"), market("币安人生/D")]
    after, changes = update(file(), {"binance": [*listed, *good]}, TODAY)
    assert {*after.exchanges["binance"]} == {"BD", "币安人生D"}
    left_out = [change for change in changes if change.what == LEFT_OUT]
    assert len(left_out) == len(listed) or "times" in left_out[0].why
    assert all(re.search(why, change.why) for change in left_out), left_out
    assert SymbolRegistry.of(yaml.safe_load(render(after))).content == after


def test_a_market_that_is_left_out_is_not_delisted() -> None:
    before = file(AC=entry("A/C"), BC=entry("B/C"))
    after, changes = update(before, {"binance": [market("A/C"), market("A/C", baseId="XA"), market("B/C")]}, TODAY)
    assert after.exchanges["binance"]["AC"] == before.exchanges["binance"]["AC"]
    assert [(change.symbol, change.what) for change in changes if change.symbol == "AC"] == [("AC", LEFT_OUT)]


def test_limits_that_are_no_numbers_are_none() -> None:
    for odd in (float("nan"), float("inf"), "NaN", "-1", 0, None, "many", True):
        limits = {"amount": {"max": odd, "min": odd}, "price": {"max": odd}}
        listed = markets_to_symbols("binance", [market("A/C", limits=limits, precision={"price": odd})])
        one = listed.entries["AC"]
        assert (one.quantity_max, one.price_max, listed.left_out) == (None, None, [])


@pytest.mark.parametrize("name", ["A\u202eC", "A\u0007C", "<i>C", "A C", " AC", "AC\u00a0", "\u2066AC", ""])
def test_a_file_with_a_hostile_name_is_refused_with_the_entry_named(name: str) -> None:
    for entries in ({name: entry("A/C")}, {"AC": entry("A/C", aliases=[name])}, {"AC": entry("A/C", base=name)}):
        with pytest.raises(RegistryError) as refused:
            SymbolRegistry.of({"version": 1, "exchanges": {"binance": entries}})
        said = str(refused.value)
        assert said.startswith("exchanges.binance."), said
        assert said.isprintable()
        assert ascii(name) in said


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
def test_a_description_changes_no_rule(field: str) -> None:
    plain = SymbolRegistry.of({"version": 1, "exchanges": {"binance": {"AC": entry("A/C")}}})
    described = SymbolRegistry.of(
        {"version": 1, "exchanges": {"binance": {"AC": entry("A/C", **{field: DESCRIPTION[field]})}}}
    )
    assert described.rules_version == plain.rules_version
    assert described.document == plain.document
    assert described.lookup == plain.lookup
    assert described.content != plain.content


CHECKS: list[tuple[dict[str, Any], str, str]] = [
    (entry("A/C", status=DELISTED), ERROR, "has no day"),
    (entry("A/C", delisted_on="2026-01-01"), ERROR, "remove one of the two"),
    (entry("A/C", status=DELISTED, delisted_on="2027-01-01"), ERROR, "in the future"),
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
