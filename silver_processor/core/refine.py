"""Turns Bronze rows into Silver rows and rejects. The rules apply in a fixed order (docs/reasons.md)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl
import pyarrow as pa

from schemas.coordinates import COORDINATES
from schemas.kinds import MOST_MATCHES, TradeKind
from schemas.reasons import MEANINGS, Reason
from schemas.records import BRONZE, SILVER
from silver_processor.core.amounts import classify, product
from silver_processor.core.rules import Rules

# 2009-01-03: Bitcoin's first block. Nothing was traded before.
EARLIEST = datetime(2009, 1, 3, tzinfo=UTC)
LATEST = datetime(2100, 1, 1, tzinfo=UTC)
VALUE_CHARACTERS = 256

REJECT_COLUMNS = (
    "reason",
    "field",
    "value",
    "rule",
    "limit",
    "exchange",
    "symbol",
    "trade_id",
    "price_text",
    "quantity_text",
    "timestamp_raw",
    "side",
    "sequence",
    "kind",
    "matches",
    "timestamp",
    "defect",
    "raw_topic",
    "raw_partition",
    "raw_offset",
    "published_at",
    "received_at",
    "ingested_at",
)
# The columns of Bronze that are validated. The others go into Silver unchanged.
_VALIDATED = (
    *("exchange", "symbol", "trade_id", "price_text", "quantity_text", "timestamp"),
    *("side", "sequence", "kind", "matches", "defect"),
)
_CARRIED = tuple(name for name in BRONZE.names if name not in _VALIDATED)
_BRONZE_TYPES = pl.DataFrame(BRONZE.empty_table()).schema
_NO_REJECTS = pl.DataFrame(schema={name: _BRONZE_TYPES.get(name, pl.String()) for name in REJECT_COLUMNS}).to_arrow()
# Silver's columns that are made here, and the columns they are made from. All others are Bronze's.
_MADE = {
    "symbol": "canonical",
    "price": "price",
    "quantity": "quantity",
    "quote_volume": "quote_volume",
    "side": "taker",
    "sequence": "order_key",
    "trade_kind": "trade_kind",
    "match_count": "match_count",
}
# Columns of Silver about a row's Bronze message and its insert. The caller adds them.
_ADDED_BY_CALLER = {"validated_at", "bronze_partition", "bronze_offset", "bronze_published_at", "insert_token"}
VALID = pa.schema([field for field in SILVER if field.name not in _ADDED_BY_CALLER])

# Defects after which no field of the row can be trusted, not even its exchange.
_UNTRUSTED = [Reason.MALFORMED_ENVELOPE, Reason.MESSAGE_TOO_LARGE]
_BRONZE_DEFECTS = [reason for reason, meaning in MEANINGS.items() if meaning.layer == "bronze"]
_DIGITS = r"^0*[0-9]{1,20}$"
_NOT_VISIBLE_ASCII = r"[^!-~]"
_KINDS = [kind.value for kind in TradeKind]


@dataclass(frozen=True, slots=True)
class Refined:
    """Refined Bronze rows. Each is in exactly one of the tables, in the order of the input.

    `valid`: columns `VALID`, and those of `_ADDED_BY_CALLER` that the input has. `rejects`: columns `REJECT_COLUMNS`.
    """

    valid: pa.Table
    rejects: pa.Table


def refine(bronze: pa.Table, rules: Rules) -> Refined:
    """Validate, normalise the symbol, and add quote_volume.

    `bronze` has the columns of `schemas.records.BRONZE`, and may have those of `_ADDED_BY_CALLER`, which are kept.
    Prices and `quote_volume` are in quote currency, quantities in base currency, times in µs (UTC). The verdict on a
    row does not depend on other rows.
    """
    rows = pl.DataFrame(bronze.select(_VALIDATED)).join(
        rules.markets,
        left_on=["exchange", "symbol"],
        right_on=["exchange", "exchange_symbol"],
        how="left",
        maintain_order="left",
    )
    amounts = classify(rows, "price", "quantity")
    volume = product(amounts["price"].to_arrow(), amounts["quantity"].to_arrow())
    rows = rows.with_columns(*amounts.get_columns(), pl.Series("quote_volume", volume), *_READ)
    rows = rows.with_columns(_TAKER, _TRADE_ID_FAULT, *_ORDER_KEY, *_MATCHES)
    is_broken = rows.select(_IS_BROKEN).to_series()
    if not is_broken.any():
        return Refined(_valid(rows, bronze, rules), _NO_REJECTS)
    carried = pl.DataFrame(bronze.filter(is_broken.to_arrow()).select(_CARRIED))
    rejects = _rejects(rows.filter(is_broken).hstack(carried), rules)
    return Refined(_valid(rows.filter(~is_broken), bronze.filter((~is_broken).to_arrow()), rules), rejects)


def refuse(bronze: pl.DataFrame, refused: pl.DataFrame) -> pl.DataFrame:
    """The rejects (`REJECT_COLUMNS`) of rows that are valid by themselves but contradict other trades.

    `bronze` has the columns of `schemas.records.BRONZE`. `refused` has `COORDINATES`, `reason`, `field`, `value` and
    `limit`. A message that was delivered twice becomes one reject.
    """
    types = pl.Schema({name: bronze.schema[name] for name in COORDINATES})
    verdicts = refused.select(*COORDINATES, "reason", "field", "value", "limit").unique(COORDINATES, keep="first")
    rejects = bronze.unique(COORDINATES, keep="first", maintain_order=True).join(
        verdicts.cast(types), on=COORDINATES, how="inner", maintain_order="left"
    )
    rules = {code.value: meaning.rule for code, meaning in MEANINGS.items()}
    return rejects.with_columns(
        pl.col("reason").replace_strict(rules, return_dtype=pl.String).alias("rule"),
        pl.col("value").str.slice(0, VALUE_CHARACTERS),
        pl.col("limit").str.slice(0, VALUE_CHARACTERS),
    ).select(REJECT_COLUMNS)


def partly_known(rows: pl.DataFrame, known: list[str]) -> pl.DataFrame:
    """The input of `refuse` for trades of which Silver has some matches.

    `rows`: columns `COORDINATES` and `match_count`. `known`: the matches that Silver has of each trade, as text.
    """
    return rows.select(
        *COORDINATES,
        pl.lit(Reason.MATCHES_PARTLY_KNOWN.value).alias("reason"),
        pl.lit(MEANINGS[Reason.MATCHES_PARTLY_KNOWN].field).alias("field"),
        pl.col("match_count").cast(pl.String).alias("value"),
        pl.Series("limit", known, dtype=pl.String),
    )


def _uint64(text: pl.Expr) -> pl.Expr:
    return pl.when(text.str.contains(_DIGITS)).then(text).cast(pl.UInt64, strict=False)


def _order_key() -> tuple[pl.Expr, pl.Expr]:
    """Silver's `sequence`: the exchange's, else the trade id where it is a number below 2^64, else 0."""
    key = pl.when(pl.col("sequence") == "").then(pl.col("number").fill_null(0)).otherwise(_uint64(pl.col("sequence")))
    return key.alias("order_key"), key.is_null().alias("sequence_fault")


def _matches() -> tuple[pl.Expr, pl.Expr]:
    """How many matches a trade sums up; one if the message names no number.

    The matches of a sum have the ids up to its own, from 0 on. So its id must be a number, as the index of seen trades
    reads one (without leading zeros), and at least the count less one.
    """
    sent, last = pl.col("matches"), pl.col("number")
    count = pl.when(sent == "").then(pl.lit(1, pl.UInt64)).otherwise(_uint64(sent)).cast(pl.UInt32, strict=False)
    is_number = count.is_between(1, MOST_MATCHES).fill_null(value=False)
    is_too_low = (count.cast(pl.UInt64) > last + 1).fill_null(value=False) & (last < MOST_MATCHES)
    is_unnumbered = (count > 1) & (last.is_null() | pl.col("trade_id").str.starts_with("0"))
    fault = ~is_number | is_too_low.fill_null(value=False) | is_unnumbered.fill_null(value=False)
    return count.alias("match_count"), fault.alias("matches_fault")


# Expressions are made once: making them costs more than validating a small batch.
_READ = (
    _uint64(pl.col("trade_id")).alias("number"),
    pl.col("side").str.to_lowercase().alias("taker"),
    pl.when(pl.col("kind") == "").then(pl.lit(TradeKind.MARKET.value)).otherwise("kind").alias("trade_kind"),
)
_TAKER = (
    pl.when(pl.col("taker") == "buy")
    .then(pl.lit("BUY"))
    .when(pl.col("taker") == "sell")
    .then(pl.lit("SELL"))
    .alias("taker")
)
# Silver knows a trade by the text of its id, so "7 " would be another trade than "7", and its match would count twice.
# The ids of exchanges have digits, letters, and marks such as hyphens. Most are numbers, which need no second look.
_TRADE_ID_FAULT = (
    pl.when(pl.col("number").is_null())
    .then("trade_id")
    .str.contains(_NOT_VISIBLE_ASCII)
    .fill_null(value=False)
    .alias("trade_id_fault")
)
_ORDER_KEY = _order_key()
_MATCHES = _matches()
# Whether a row breaks any rule. This costs less than `_reason`, which finds the first one. A missing or unknown
# exchange needs no condition here: it has no market, so `canonical` is null.
_IS_BROKEN = pl.any_horizontal(
    pl.col("defect") != "",
    pl.col("symbol") == "",
    pl.col("trade_id") == "",
    pl.col("trade_id_fault"),
    pl.col("canonical").is_null(),
    pl.col("price_fault").is_not_null(),
    pl.col("quantity_fault").is_not_null(),
    pl.col("quote_volume").is_null(),
    pl.col("taker").is_null(),
    ~pl.col("timestamp").is_between(EARLIEST, LATEST, closed="left"),
    pl.col("sequence_fault"),
    ~pl.col("trade_kind").is_in(_KINDS),
    pl.col("matches_fault"),
)


def _reason(rules: Rules) -> pl.Expr:
    """The first rule that a row breaks, or null."""
    defect = pl.col("defect")
    chain = (
        pl.when(defect.is_in(_UNTRUSTED))
        .then(defect)
        .when(pl.col("exchange") == "")
        .then(pl.lit(Reason.EXCHANGE_MISSING.value))
        .when(~pl.col("exchange").is_in(rules.exchanges.implode()))
        .then(pl.lit(Reason.EXCHANGE_UNKNOWN.value))
        .when(defect.is_in(_BRONZE_DEFECTS))
        .then(defect)
        .when(defect != "")
        .then(pl.lit(Reason.DEFECT_UNKNOWN.value))
        .when(pl.col("symbol") == "")
        .then(pl.lit(Reason.SYMBOL_MISSING.value))
        .when(pl.col("trade_id") == "")
        .then(pl.lit(Reason.TRADE_ID_MISSING.value))
        .when(pl.col("trade_id_fault"))
        .then(pl.lit(Reason.TRADE_ID_INVALID.value))
        .when(pl.col("canonical").is_null())
        .then(pl.lit(Reason.SYMBOL_UNMAPPED.value))
        .when(pl.col("price_fault").is_not_null())
        .then("price_" + pl.col("price_fault"))
        .when(pl.col("quantity_fault").is_not_null())
        .then("quantity_" + pl.col("quantity_fault"))
        .when(pl.col("quote_volume").is_null())
        .then(pl.lit(Reason.QUOTE_VOLUME_TOO_PRECISE.value))
        .when(pl.col("taker").is_null())
        .then(pl.lit(Reason.SIDE_INVALID.value))
        .when(~pl.col("timestamp").is_between(EARLIEST, LATEST, closed="left"))
        .then(pl.lit(Reason.TIMESTAMP_OUT_OF_RANGE.value))
        .when(pl.col("sequence_fault"))
        .then(pl.lit(Reason.SEQUENCE_INVALID.value))
        .when(~pl.col("trade_kind").is_in(_KINDS))
        .then(pl.lit(Reason.KIND_UNKNOWN.value))
        .when(pl.col("matches_fault"))
        .then(pl.lit(Reason.MATCHES_INVALID.value))
    )
    return chain.otherwise(pl.lit(None, dtype=pl.String))


def _valid(rows: pl.DataFrame, bronze: pa.Table, rules: Rules) -> pa.Table:
    """The rows of Silver. Columns that are not in `_MADE` keep Bronze's values."""
    columns = dict(zip(bronze.column_names, bronze.columns, strict=True))
    columns |= {"exchange_symbol": columns["symbol"], "rules_version": pa.repeat(rules.version, rows.height)}
    columns |= zip(_MADE, rows.select(*_MADE.values()).to_arrow().columns, strict=True)
    names = [*VALID.names, *(name for name in bronze.column_names if name in _ADDED_BY_CALLER)]
    return pa.table([columns[name] for name in names], schema=pa.schema([SILVER.field(name) for name in names]))


# The text that a reject shows of its field.
_VALUES = {name: pl.col(name) for name in _VALIDATED} | {
    "quote_volume": pl.col("price_text") + " * " + pl.col("quantity_text"),
    "timestamp": pl.col("timestamp_raw"),
}


def _rejects(rows: pl.DataFrame, rules: Rules) -> pa.Table:
    reason = pl.col("reason")
    rows = rows.with_columns(_reason(rules).alias("reason"))
    fields = {code.value: meaning.field for code, meaning in MEANINGS.items()}
    texts = {code.value: meaning.rule for code, meaning in MEANINGS.items()}
    named = rows.with_columns(reason.replace_strict(fields).alias("field"), reason.replace_strict(texts).alias("rule"))
    field = pl.col("field")
    texts_of_fields = (pl.when(field == name).then(text.cast(pl.String)) for name, text in _VALUES.items())
    value = pl.coalesce(*texts_of_fields, pl.lit("")).str.slice(0, VALUE_CHARACTERS)
    limit = (
        pl.when(reason == Reason.PRICE_ABOVE_LIMIT)
        .then(pl.col("price_limit"))
        .when(reason == Reason.QUANTITY_ABOVE_LIMIT)
        .then(pl.col("quantity_limit"))
        .when(reason.str.ends_with("_not_positive"))
        .then(pl.lit("0"))
        .when(reason == Reason.QUOTE_VOLUME_TOO_PRECISE)
        .then(pl.lit("Decimal(38, 20)"))
        .when(reason.str.ends_with("_too_precise"))
        .then(pl.lit("Decimal(38, 18)"))
        .when(reason == Reason.TIMESTAMP_OUT_OF_RANGE)
        .then(pl.lit(f"{EARLIEST:%Y-%m-%d} {LATEST:%Y-%m-%d}"))
        .otherwise(pl.lit(""))
    )
    return named.with_columns(value.alias("value"), limit.alias("limit")).select(REJECT_COLUMNS).to_arrow()
