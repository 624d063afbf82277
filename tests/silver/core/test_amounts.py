"""Decimal text: validated and read exactly as Python's `decimal` would (an independent implementation)."""

from __future__ import annotations

import re
from decimal import Context, Decimal, Inexact, InvalidOperation, localcontext
from fractions import Fraction
from math import floor

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from config.registry import SymbolRegistry
from silver_processor.core.refine import refine
from silver_processor.core.rules import Rules
from tests.silver.bronze import RULES, bronze

WIDE = Context(prec=2000, Emax=10**17, Emin=-(10**17), traps=[InvalidOperation])
GRAMMAR = re.compile(r"[+-]?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?", re.ASCII)
LIMITS = {
    "BTCUSDT": (Decimal(10**6), Decimal(10**5)),
    "SHIBUSDT": (Decimal(10**6), Decimal(10**12)),
    "FINEUSDT": (Decimal("12.3400000000000000001"), Decimal(10**5)),
    "WIDEUSDT": (Decimal("1e400"), Decimal(10**5)),
}


def fits(value: Decimal, whole: int, scale: int) -> bool:
    """Whether Decimal(whole + scale, scale) holds the value without rounding (by digit positions)."""
    digits = "".join(map(str, value.as_tuple().digits)).lstrip("0")
    kept = digits.rstrip("0")
    lowest = int(value.as_tuple().exponent) + len(digits) - len(kept)
    return -lowest <= scale and lowest + len(kept) <= whole


def oracle(text: str, limit: Decimal) -> tuple[str | None, Decimal | None]:
    """The fault of an amount text, or its value."""
    if text == "":
        return "missing", None
    if not GRAMMAR.fullmatch(text):
        return "not_a_number", None
    value = Decimal(text)
    fault = None
    if value <= 0:
        fault = "not_positive"
    elif value > limit:
        fault = "above_limit"
    elif not fits(value, 20, 18):
        fault = "too_precise"
    return fault, None if fault else value


digits = st.text("0123456789", min_size=1, max_size=30) | st.sampled_from(["0", "00", "1", "9" * 20, "0" * 40 + "1"])
exponents = st.integers(-60, 60).map(str) | st.sampled_from(
    ["400", "-400", "+5", "-0", "00012", "9" * 11, "-" + "9" * 11]
)
plain = st.tuples(digits, digits).map(".".join) | digits
signed = st.tuples(st.sampled_from(["", "", "", "+", "-"]), plain).map("".join)
scientific = st.tuples(signed, st.sampled_from("eE"), exponents).map("".join)
NASTY = (
    *("", " ", "NaN", "inf", "-inf", "abc", " 1", "1 ", "1\n", "1,5", "0x10", "1.", ".5", "--1", "1e", "e5", "1e5.0"),
    *("\u0661\u0662", "\uff11", "1_000", "0", "-0", "0e5", "0.000", "1e400", "1e-400", "null", "1\x00"),
    *("1e6", "1000000", "1000000.000", "1000000.0000000000000000001", "1000001", "100000", "100000.1"),
    *("1e999999999999999999999999", "1e-999999999999999999999999"),
    *("1e100000000000", "1e-100000000000", "1e999999999999", "1e1000000000000"),
)
nasty = st.sampled_from(NASTY)
texts = signed | scientific | nasty | st.text(max_size=5)


@given(st.lists(st.tuples(texts, st.sampled_from(sorted(LIMITS))), min_size=1, max_size=40))
def test_price_text_is_validated_as_python_decimal_does(rows: list[tuple[str, str]]) -> None:
    """Invariants 4 and 5: fault and value of any text equal the oracle's, digit for digit."""
    rows = [(text, symbol) for text, symbol in rows if len(text.lower().partition("e")[2]) < 15]
    refined = refine(bronze([{"price_text": t, "symbol": s, "quantity_text": "1"} for t, s in rows]), RULES)
    reasons = {row["raw_offset"]: row["reason"] for row in refined.rejects.to_pylist()}
    values = {row["raw_offset"]: row["price"] for row in refined.valid.to_pylist()}
    assert len(reasons) + len(values) == len(rows)
    for offset, (text, symbol) in enumerate(rows):
        fault, value = oracle(text, LIMITS[symbol][0])
        if fault is None and value is not None and not fits(value, 18, 20):
            assert reasons[offset] == "quote_volume_too_precise"
        elif fault is None:
            assert values[offset] == value
        else:
            assert reasons[offset] == f"price_{fault}", text


@given(st.decimals("1e-30", "1e30", allow_nan=False) | st.sampled_from([Decimal(10) ** n for n in (-19, 19, 20, 999)]))
@example(Decimal(10**20) - Decimal("1e-19"))
@example(Decimal(10**20))
def test_the_limit_of_a_market_alone_is_exact(limit: Decimal) -> None:
    """The largest Decimal(38,18) that is not above it, by integers."""
    entry = {"canonical": "AB", "base": "A", "quote": "B", "price_max": str(limit), "quantity_max": str(limit)}
    markets = Rules.of(SymbolRegistry.of({"version": 1, "exchanges": {"x": {"A": entry}}})).markets
    expected = min(floor(Fraction(limit) * 10**18), 10**38 - 1)
    for name in ("price_max", "quantity_max"):
        assert Fraction(markets[name].item()) * 10**18 == expected


@given(st.lists(st.tuples(plain, plain), min_size=1, max_size=30))
def test_quote_volume_is_the_exact_product_or_a_reject(rows: list[tuple[str, str]]) -> None:
    """Invariant 4: quote_volume equals price times quantity in exact arithmetic, else the row is rejected."""
    table = bronze([{"price_text": p, "quantity_text": q, "symbol": "SHIBUSDT"} for p, q in rows])
    refined = refine(table, RULES)
    reasons = {row["raw_offset"]: row["reason"] for row in refined.rejects.to_pylist()}
    valid = {row["raw_offset"]: row for row in refined.valid.to_pylist()}
    with localcontext(WIDE) as context:
        context.traps[Inexact] = True
        for offset, (price_text, quantity_text) in enumerate(rows):
            price_fault, price = oracle(price_text, LIMITS["SHIBUSDT"][0])
            quantity_fault, quantity = oracle(quantity_text, LIMITS["SHIBUSDT"][1])
            if price_fault or quantity_fault:
                assert reasons[offset] == (f"price_{price_fault}" if price_fault else f"quantity_{quantity_fault}")
                continue
            assert price is not None
            assert quantity is not None
            if fits(price * quantity, 18, 20):
                assert valid[offset]["quote_volume"] == price * quantity
            else:
                assert reasons[offset] == "quote_volume_too_precise"


@pytest.mark.parametrize(
    ("price", "quantity", "product"),
    [
        ("0.00000074408", "1000000000000", "744080"),
        ("1000000", "999999999999.99999999", "999999999999999999.99"),
        ("1000000", "999999999999.999999", "999999999999999999"),
        ("0.0000000001", "0.0000000001", "0.00000000000000000001"),
        ("0.00000000001", "0.000000001", "0.00000000000000000001"),
        ("999999.123456789012345678", "10", "9999991.23456789012345678"),
        ("1000000", "1000000000000", None),
        ("0.00000000001", "0.0000000001", None),
        ("0.000000000000000001", "0.001", None),
    ],
)
def test_the_edges_of_quote_volume(price: str, quantity: str, product: str | None) -> None:
    refined = refine(bronze([{"price_text": price, "quantity_text": quantity, "symbol": "SHIBUSDT"}]), RULES)
    if product is None:
        assert refined.rejects["reason"].to_pylist() == ["quote_volume_too_precise"]
    else:
        assert refined.valid["quote_volume"].to_pylist() == [Decimal(product)]
