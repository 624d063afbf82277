"""The registry prepared for work by column: one row for each name of a market, with limits in comparable form."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import ROUND_FLOOR, Context, Decimal

import polars as pl

from config.registry import SymbolRegistry

# Any Decimal(38, 18) value is below this many units of 10^-18.
_WHOLE_DIGITS = 20
_SCALE = 18
_EXACT = Context(prec=100, rounding=ROUND_FLOOR, Emax=10**9, Emin=-(10**9))
# Decimal's own operators would round this to 28 digits.
_LARGEST = _EXACT.subtract(Decimal(10) ** _WHOLE_DIGITS, Decimal(1).scaleb(-_SCALE))


@dataclass(frozen=True, slots=True)
class Rules:
    """What `refine` needs of a registry.

    `markets`: `exchange, exchange_symbol, canonical`, `first_name` (the entry's own; the others are aliases), and
    for price and quantity the limit as `<name>_limit` (text), `<name>_max` (the largest Decimal(38,18) within it),
    `<name>_max_whole` (count of digits before the point) and `<name>_max_digits` (its significant digits, no zeros at
    either end).
    """

    markets: pl.DataFrame
    exchanges: pl.Series
    version: str

    @classmethod
    def of(cls, registry: SymbolRegistry) -> Rules:
        """Prepare a registry."""
        columns = {
            name: pl.Series([row[name] for row in registry.lookup], dtype=pl.String)
            for name in ("exchange", "exchange_symbol", "canonical")
        }
        for name in ("price", "quantity"):
            limits = [Decimal(row[f"{name}_max"]) for row in registry.lookup]
            columns[f"{name}_limit"] = pl.Series([f"{limit:f}" for limit in limits], dtype=pl.String)
            columns[f"{name}_max"] = pl.Series([_within(x) for x in limits], dtype=pl.Decimal(38, _SCALE))
            columns[f"{name}_max_whole"] = pl.Series([x.adjusted() + 1 for x in limits], dtype=pl.Int64)
            columns[f"{name}_max_digits"] = pl.Series([_digits(x) for x in limits], dtype=pl.String)
        return cls(
            # The first name of a market is its entry's; aliases follow.
            markets=pl.DataFrame(columns).with_columns(
                pl.col("exchange_symbol").first().over("exchange", "canonical").alias("first_name")
            ),
            exchanges=pl.Series(sorted(registry.exchanges), dtype=pl.String),
            version=registry.rules_version,
        )


def _within(limit: Decimal) -> Decimal:
    if limit >= _LARGEST:
        return _LARGEST
    return limit.quantize(Decimal(1).scaleb(-_SCALE), context=_EXACT)


def _digits(limit: Decimal) -> str:
    return "".join(str(digit) for digit in limit.as_tuple().digits).strip("0")


def moved(before: Rules, after: Rules) -> list[tuple[str, str, str, str]]:
    """Markets whose first name changed: exchange, canonical symbol, first name before and after."""
    market = ["exchange", "canonical"]
    first = [rules.markets.select(*market, "first_name").unique() for rules in (before, after)]
    both = first[0].join(first[1], on=market, suffix="_after")
    return both.filter(pl.col("first_name") != pl.col("first_name_after")).sort(market).rows()
