"""Amounts as Binance writes them: text, at least eight decimals, every digit that the exact value has."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Context, Decimal

_DECIMALS = 8
# Wide enough for the product and the quotient of two amounts of 38 digits.
_WIDE = Context(prec=120, rounding=ROUND_HALF_UP)


def amount(exact: str) -> str:
    """A decimal without exponent, zeros filled up to eight decimals: `27000.5` is `27000.50000000`."""
    whole, _, fraction = exact.partition(".")
    return f"{whole}.{fraction.rstrip('0').ljust(_DECIMALS, '0')}"


def decimals(step: Decimal) -> int:
    """The number of decimals of a step: 2 of 0.05."""
    exponent = step.normalize().as_tuple().exponent
    # A number that is no finite one has no number as its exponent; the registry has none of these.
    return max(0, -exponent) if isinstance(exponent, int) else _DECIMALS


def change(last: str, first: str) -> str:
    """`last` - `first`, exact."""
    return amount(f"{_WIDE.subtract(Decimal(last), Decimal(first)):f}")


def percent(last: str, first: str) -> str:
    """The change in percent of `first`, rounded to three decimals as Binance does; 0.000 where `first` is 0."""
    start = Decimal(first)
    if not start:
        return "0.000"
    ratio = _WIDE.divide(_WIDE.subtract(Decimal(last), start) * 100, start)
    return f"{_WIDE.quantize(ratio, Decimal('0.001')):f}"


def average(quote_volume: str, volume: str) -> str:
    """The price weighted by quantity, rounded to eight decimals; 0 where nothing was traded."""
    base = Decimal(volume)
    quotient = _WIDE.divide(Decimal(quote_volume), base) if base else Decimal(0)
    return f"{_WIDE.quantize(quotient, Decimal(1).scaleb(-_DECIMALS)):f}"
