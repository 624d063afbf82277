"""The symbol registry as a table that rows can be joined with."""

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
    """The part of a registry that `refine` needs.

    `markets` has one row for each name of a market: `exchange`, `exchange_symbol` (the name), `canonical`, and
    `first_name` (the name of the market's entry; its other names are aliases). For `price` (quote currency) and
    `quantity` (base currency) it has the limit in four forms: `<name>_limit` (text), `<name>_max` (the largest
    Decimal(38,18) within it), `<name>_max_whole` (number of digits before the point) and `<name>_max_digits` (its
    significant digits, without zeros at either end). `exchanges`: the known codes. `version`: the rules version.
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
            # `lookup` lists a market's entry before its aliases.
            markets=pl.DataFrame(columns).with_columns(
                pl.col("exchange_symbol").first().over("exchange", "canonical").alias("first_name")
            ),
            exchanges=pl.Series(sorted(registry.exchanges), dtype=pl.String),
            version=registry.rules_version,
        )


def _within(limit: Decimal) -> Decimal:
    """The largest Decimal(38, 18) that is not above the limit."""
    if limit >= _LARGEST:
        return _LARGEST
    return limit.quantize(Decimal(1).scaleb(-_SCALE), context=_EXACT)


def _digits(limit: Decimal) -> str:
    return "".join(str(digit) for digit in limit.as_tuple().digits).strip("0")


def changed_first_names(before: Rules, after: Rules) -> list[tuple[str, str, str, str]]:
    """Markets whose first name changes: exchange, canonical symbol, first name before and after."""
    market = ["exchange", "canonical"]
    old, new = (rules.markets.select(*market, "first_name").unique() for rules in (before, after))
    both = old.join(new, on=market, suffix="_after")
    return both.filter(pl.col("first_name") != pl.col("first_name_after")).sort(market).rows()
