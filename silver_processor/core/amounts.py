"""Turns columns of decimal text into exact decimals, or into the reason why a text is no valid amount."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

AMOUNT = pl.Decimal(38, 18)
# Digits that Decimal(38, 18) holds before and after the point.
_WHOLE, _SCALE = 20, 18
_PLAIN = rf"^[0-9]{{1,{_WHOLE - 1}}}(?:\.[0-9]{{1,{_SCALE}}})?$"
_GRAMMAR = r"^(?P<sign>[+-]?)(?P<whole>[0-9]+)(?:\.(?P<fraction>[0-9]+))?(?:[eE](?P<exponent>[+-]?[0-9]+))?$"
# An exponent with more digits is larger than any text in a message is long.
_EXPONENT_DIGITS = 12
_PRODUCT_WHOLE = 18
_ALL = pl.all().all()


def classify(frame: pl.DataFrame, *names: str) -> pl.DataFrame:
    """Validate each column `<name>_text` against the columns `<name>_max…` of `Rules.markets`.

    Returns for each `<name>` (Decimal(38,18), null unless the text is a valid amount within the limit) and
    `<name>_fault` (null, or `missing`, `not_a_number`, `not_positive`, `above_limit`, `too_precise`, in that order).
    Exact: no value passes through a float. A null limit (unknown market) limits nothing.
    """
    steps = _steps(names)
    plain = frame.select(steps.is_plain)
    if plain.select(_ALL).row(0) == (True,) * len(names):
        return _validate_plain(frame, steps)
    validated = [_validate_mixed(frame.with_columns(is_plain=plain[name]), name) for name in names]
    return pl.concat(validated, how="horizontal")


@dataclass(frozen=True, slots=True)
class _Steps:
    """Expressions for the columns of some names, made once: making them costs more than validating a small batch."""

    is_plain: list[pl.Expr]
    values: list[pl.Expr]
    faults: list[pl.Expr]
    validated: list[pl.Expr]


@cache
def _steps(names: tuple[str, ...]) -> _Steps:
    steps = _Steps([], [], [], [])
    for name in names:
        text, value, most, fault = (pl.col(f"{name}{suffix}") for suffix in ("_text", "", "_max", "_fault"))
        steps.is_plain.append(text.str.contains(_PLAIN).alias(name))
        steps.values.extend([text.cast(AMOUNT).alias(name), most])
        reason = pl.when(value == 0).then(pl.lit("not_positive")).when(value > most).then(pl.lit("above_limit"))
        steps.faults.append(reason.alias(f"{name}_fault"))
        steps.validated.extend([pl.when(fault.is_null()).then(value), fault])
    return steps


def _validate_plain(frame: pl.DataFrame, steps: _Steps) -> pl.DataFrame:
    return frame.select(steps.values).with_columns(steps.faults).select(steps.validated)


def _validate_mixed(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    rows = frame.select("is_plain", f"^{name}_.*$").with_row_index("row")
    simple, others = rows.filter("is_plain"), rows.filter(~pl.col("is_plain"))
    parts = [_validate_plain(simple, _steps((name,))).with_columns(simple["row"]), _validate_any(others, name)]
    return pl.concat(parts).sort("row").drop("row")


def _validate_any(rows: pl.DataFrame, name: str) -> pl.DataFrame:
    """Validate texts in any form. The value is 0.<digits> * 10^size; `digits` has no zeros at either end.

    `lowest` is the decimal exponent of the last of the digits.
    """
    text = pl.col(f"{name}_text").alias("text")
    parts = rows.with_columns(text, text.str.extract_groups(_GRAMMAR).alias("parts")).unnest("parts")
    fraction = pl.col("fraction").fill_null("")
    power = pl.col("exponent").fill_null("0").str.replace(r"^([+-]?)0*([0-9]+)$", "$1$2")
    size = power.str.strip_chars_start("+-").str.len_bytes()
    huge = pl.when(power.str.starts_with("-")).then(-(10**_EXPONENT_DIGITS)).otherwise(10**_EXPONENT_DIGITS)
    exponent = (
        pl.when(size > _EXPONENT_DIGITS)
        .then(huge)
        .otherwise(
            pl.when(size <= _EXPONENT_DIGITS)
            .then(power.str.strip_chars_start("+"))
            .otherwise(pl.lit("0"))
            .cast(pl.Int64, strict=False)
        )
    )
    split = parts.with_columns(
        (pl.col("whole") + fraction).str.strip_chars_start("0").alias("all_digits"),
        (exponent - fraction.str.len_bytes().cast(pl.Int64)).alias("last_exponent"),
    ).with_columns(pl.col("all_digits").str.strip_chars_end("0").alias("digits"))
    length = pl.col("digits").str.len_bytes().cast(pl.Int64)
    lowest = pl.col("last_exponent") + pl.col("all_digits").str.len_bytes().cast(pl.Int64) - length
    sized = split.with_columns(lowest.alias("lowest"), (lowest + length).alias("size"))
    limit, limit_digits = pl.col(f"{name}_max_whole"), pl.col(f"{name}_max_digits")
    above = (pl.col("size") > limit) | ((pl.col("size") == limit) & (pl.col("digits") > limit_digits))
    fault = (
        pl.when(pl.col("text") == "")
        .then(pl.lit("missing"))
        .when(pl.col("digits").is_null())
        .then(pl.lit("not_a_number"))
        .when((pl.col("digits") == "") | (pl.col("sign") == "-"))
        .then(pl.lit("not_positive"))
        .when(above)
        .then(pl.lit("above_limit"))
        .when((pl.col("lowest") < -_SCALE) | (pl.col("size") > _WHOLE))
        .then(pl.lit("too_precise"))
    )
    validated = sized.with_columns(fault.alias(f"{name}_fault"))
    shift = pl.col("lowest").cast(pl.String)
    plain = pl.when(pl.col(f"{name}_fault").is_null()).then(pl.col("digits") + "e" + shift)
    value = pl.Series(pc.cast(validated.select(plain).to_series().to_arrow(), pa.decimal128(38, _SCALE)))
    return validated.select(value.alias(name), f"{name}_fault", "row")


def product(price: pa.ChunkedArray, quantity: pa.ChunkedArray) -> pa.ChunkedArray:
    """The exact product of two Decimal(38,18) columns as Decimal(38,20); null if it needs more digits or a factor is
    null.
    """
    short = [_shortened(price, 18), _shortened(quantity, 19)]
    if all(column is not None for column in short):
        return pc.multiply(*short)
    return _wide_product(price, quantity)


def _shortened(column: pa.ChunkedArray, precision: int) -> pa.ChunkedArray | None:
    """The column as Decimal128(precision, 10); None if a value does not fit.

    Arrow gives the product of 18 and 19 digits a precision of 38, which still fits into a Decimal128.
    """
    try:
        return column.cast(pa.decimal128(precision, 10))
    except pa.ArrowInvalid:
        return None


def _wide_product(price: pa.ChunkedArray, quantity: pa.ChunkedArray) -> pa.ChunkedArray:
    """A product below 10^18 has a factor below 10^9, so 76 digits hold every product that fits."""
    larger, smaller = pc.max_element_wise(price, quantity), pc.min_element_wise(price, quantity)
    fits = pc.less(smaller, pa.scalar(10 ** (_PRODUCT_WHOLE // 2)).cast(pa.decimal128(38, 18)))
    fits = pc.and_kleene(fits, pc.and_(pc.is_valid(price), pc.is_valid(quantity)))
    narrow = pc.if_else(fits, smaller, None).cast(pa.decimal256(37, 18))
    exact = pc.multiply(larger.cast(pa.decimal256(38, 18)), narrow)
    cut = exact.cast(pa.decimal256(76, 20), safe=False)
    lost_no_digit = pc.equal(cut.cast(pa.decimal256(76, 36), safe=False), exact)
    is_small_enough = pc.less(cut, pa.scalar(10**_PRODUCT_WHOLE).cast(pa.decimal256(76, 20)))
    return pc.if_else(pc.and_(lost_no_digit, is_small_enough), cut, None).cast(pa.decimal128(38, 20))
