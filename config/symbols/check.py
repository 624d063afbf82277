"""Finds what is wrong in a symbols file that loads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from config.registry import ACTIVE, DELISTED, Entry, SymbolRegistry, SymbolsFile

# Silver's prices and quantities are Decimal(38, 18).
_FINEST = Decimal(1).scaleb(-18)
_LARGEST = Decimal(10) ** 20
ERROR, WARNING = "error", "warning"


@dataclass(frozen=True, slots=True)
class SymbolFinding:
    """One fault. `level` is error or warning; the message says what to do."""

    level: str
    exchange: str
    symbol: str
    message: str


def findings(registry: SymbolRegistry, today: date) -> list[SymbolFinding]:
    """All faults of a registry on the day `today` (UTC). A file with two markets of one name does not load at all."""
    content = registry.content
    found = [
        SymbolFinding(level, exchange, symbol, message)
        for exchange, symbols in content.exchanges.items()
        for symbol, entry in symbols.items()
        for level, message in (*_listing(entry, today), *_limits(entry, content))
    ]
    return [*found, *_assets(content)]


def _listing(entry: Entry, today: date) -> Iterator[tuple[str, str]]:
    if entry.status == DELISTED and entry.delisted_on is None:
        yield ERROR, "is delisted, but has no day: add `delisted_on`"
    if entry.status != DELISTED and entry.delisted_on is not None:
        yield ERROR, f"is {entry.status} but was delisted on {entry.delisted_on}: remove one of the two"
    if entry.delisted_on is not None and entry.delisted_on > today:
        yield ERROR, f"was delisted on {entry.delisted_on}, which is in the future: correct `delisted_on`"
    if entry.status == ACTIVE and entry.halted_on is not None:
        yield ERROR, f"is active but halted since {entry.halted_on}: remove `halted_on`, or set `status: halted`"
    if entry.listed_on is not None and entry.delisted_on is not None and entry.listed_on > entry.delisted_on:
        yield ERROR, f"was listed on {entry.listed_on}, after it was delisted on {entry.delisted_on}: correct one"


def _limits(entry: Entry, content: SymbolsFile) -> Iterator[tuple[str, str]]:
    price_max = entry.price_max or content.defaults.price_max
    quantity_max = entry.quantity_max or content.defaults.quantity_max
    for name, step, maximum, limit in (
        ("tick", entry.tick, price_max, "price_max"),
        ("lot", entry.lot, quantity_max, "quantity_max"),
        ("quantity_min", entry.quantity_min, quantity_max, "quantity_max"),
    ):
        if step is not None and step > maximum:
            yield ERROR, f"no trade can pass: {name} {step:f} is above {limit} {maximum:f}; raise {limit}"
        if step is not None and step < _FINEST:
            yield ERROR, f"{name} {step:f} is finer than the 18 decimals that Silver keeps: its trades will be rejected"
    for limit, maximum in (("price_max", price_max), ("quantity_max", quantity_max)):
        if maximum >= _LARGEST:
            yield WARNING, f"{limit} {maximum:f} is more than Silver can store (20 digits before the point)"
    if entry.notional_min is not None and entry.notional_min > price_max * quantity_max:
        yield ERROR, f"no trade can pass: notional_min {entry.notional_min:f} is above price_max times quantity_max"


def _assets(content: SymbolsFile) -> Iterator[SymbolFinding]:
    """Canonical symbols of two different pairs (`ABC`: A/BC and AB/C). Queries across exchanges would mix them."""
    first: dict[str, tuple[str, str, Entry]] = {}
    for exchange, symbols in content.exchanges.items():
        for symbol, entry in symbols.items():
            other = first.setdefault(entry.canonical, (exchange, symbol, entry))
            if (other[2].base, other[2].quote) != (entry.base, entry.quote):
                yield SymbolFinding(
                    ERROR,
                    exchange,
                    symbol,
                    f"{entry.canonical!r} is {entry.base}/{entry.quote} here and {other[2].base}/{other[2].quote} for"
                    f" {other[1]!r} of {other[0]}: give one of them a suffix",
                )
