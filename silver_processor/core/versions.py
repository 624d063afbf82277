"""Compares versions of a trade: whether two messages with one identity agree, and where they differ.

Price, quantity, time, side and kind are compared, as values: 1.50 equals 1.5. Columns that depend on the source are
not compared: dumps and REST have no sequence, and a market may have several names.

- Two times agree if they are equal, or less than a millisecond apart and one of them in whole milliseconds: some
  sources have microseconds, others cut or round them.
- Two quantities of equally many matches must be equal. Of two different numbers of matches, the message with fewer must
  not have the larger quantity: it has a part of the matches, or all of them, since some sources leave the number out.
- Two kinds are compared only if neither is `market`: a source that knows no kinds has this one, too.

A correction may say that there is no such trade: its `match_count` is `WITHDRAWN`. Every message of the trade differs
from it, in `trade_id`.
"""

from __future__ import annotations

import polars as pl

from schemas.coordinates import COORDINATES
from schemas.kinds import TradeKind
from schemas.reasons import Reason
from schemas.records import SILVER

IDENTITY = ("exchange", "symbol", "trade_id")
# Compared columns → their names in Bronze.
CONTENT = {
    "price": "price_text",
    "quantity": "quantity_text",
    "timestamp": "timestamp",
    "side": "side",
    "trade_kind": "kind",
}
# The number of matches of a withdrawn trade: the version that an operator has accepted is that there is no such trade.
WITHDRAWN = 0
# The reasons of dead letters about versions.
ABOUT_VERSIONS = (Reason.TRADE_CONTRADICTS, Reason.TRADE_SUPERSEDED)
_SILVER_TYPES = pl.DataFrame(SILVER.empty_table()).schema
# The columns of a held version: identity, compared columns, and the coordinates of its raw message.
HELD = pl.Schema({name: _SILVER_TYPES[name] for name in (*IDENTITY, *CONTENT, "match_count", *COORDINATES)})
_FLAGS = ("is_known", "is_message", "is_earlier")
_TEXTS = ("field", "value", "limit")
_COMPARED = pl.Schema(
    {
        **{name: HELD[name] for name in (*IDENTITY, *COORDINATES)},
        **dict.fromkeys(_FLAGS, pl.Boolean()),
        **dict.fromkeys(_TEXTS, pl.String()),
    }
)
_HELD = "_held"
_MILLISECOND_US = 1_000


def compare(rows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Compare each row with the held version of its trade.

    `rows` and `held` have the columns of `HELD` (and may have more). The result has one row for each of `rows`, in
    order, with the columns `IDENTITY`, `COORDINATES` and

    - `is_known`: whether a version of the trade is held,
    - `is_message`: whether the held version is from the same raw message,
    - `is_earlier`: whether the row's message was published before that of the held version,
    - `field`: the columns of Bronze that differ, `""` if none does, `trade_id` if the held version is withdrawn,
    - `value`, `limit`: the values of these columns in the row, and in the held version.
    """
    # Every insert calls this, mostly with no rows.
    if not rows.height:
        return _COMPARED.to_frame()
    numbered = versions_of(rows).with_row_index("row")
    known = versions_of(held).with_columns(is_known=pl.lit(value=True))
    pairs = numbered.join(known, on=IDENTITY, how="left", suffix=_HELD, maintain_order="left")
    compared = pairs.with_columns(
        pl.col("is_known").fill_null(value=False),
        _is_message().fill_null(value=False).alias("is_message"),
        _is_earlier().fill_null(value=False).alias("is_earlier"),
        _unless_withdrawn(
            _listed({name: pl.lit(bronze) for name, bronze in CONTENT.items()}), pl.lit("trade_id")
        ).alias("field"),
        _unless_withdrawn(_differing_values(""), pl.format("trade_id {}", "trade_id")).alias("value"),
        _unless_withdrawn(
            _differing_values(_HELD) + pl.format(" ({}[{}]@{})", *(f"{name}{_HELD}" for name in COORDINATES[:3])),
            pl.lit("withdrawn"),
        ).alias("limit"),
    )
    # Silver should hold a trade once. If it holds two versions, the same message counts first, then one that agrees.
    nearest = compared.sort("row", ~pl.col("is_message"), pl.col("field") != "", maintain_order=True)
    return nearest.unique("row", keep="first", maintain_order=True).select(_COMPARED.names())


def contradicting(compared: pl.DataFrame) -> pl.DataFrame:
    """The compared rows that come from another message and differ."""
    return compared.filter(pl.col("is_known") & ~pl.col("is_message") & (pl.col("field") != ""))


def overruled(compared: pl.DataFrame) -> pl.DataFrame:
    """The rows that differ from an accepted version, with the `reason` of each.

    `compared`: rows compared with the corrections. A message published before the accepted version is superseded. A
    later one contradicts it.
    """
    contradicts, superseded = (pl.lit(reason.value) for reason in ABOUT_VERSIONS)
    return contradicting(compared).with_columns(
        pl.when("is_earlier").then(superseded).otherwise(contradicts).alias("reason")
    )


NONE_OVERRULED = overruled(_COMPARED.to_frame())


def versions_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of hot or cold Silver as versions of their trades (columns `HELD`)."""
    return rows.select(HELD.names()).cast(HELD)


def _differs(name: str) -> pl.Expr:
    row, held = pl.col(name), pl.col(f"{name}{_HELD}")
    if name == "timestamp":
        row, held = row.dt.epoch("us"), held.dt.epoch("us")
        is_near = (row - held).abs() < _MILLISECOND_US
        is_whole = (row % _MILLISECOND_US == 0) | (held % _MILLISECOND_US == 0)
        return (row != held) & ~(is_near & is_whole)
    if name == "quantity":
        count, held_count = pl.col("match_count"), pl.col(f"match_count{_HELD}")
        is_too_much = pl.when(count < held_count).then(row > held).otherwise(row < held)
        return pl.when(count == held_count).then(row != held).otherwise(is_too_much)
    if name == "trade_kind":
        return (row != held) & (row != TradeKind.MARKET.value) & (held != TradeKind.MARKET.value)
    return row != held


def _listed(texts: dict[str, pl.Expr]) -> pl.Expr:
    """The texts of the fields that differ, joined by commas. `texts`: by field of `CONTENT`."""
    differing = (pl.when(_differs(name)).then(text) for name, text in texts.items())
    return pl.concat_list(*differing).list.drop_nulls().list.join(", ")


def _differing_values(suffix: str) -> pl.Expr:
    """The values of the fields that differ: `price 150.1, side SELL`. `suffix`: `_HELD` for the held version."""
    return _listed({name: pl.concat_str(pl.lit(f"{name} "), text_of(name, suffix)) for name in CONTENT})


def text_of(name: str, suffix: str = "") -> pl.Expr:
    """A field of `CONTENT` as a message shows it: `1.5`, `2026-07-03T00:00:00.000000Z`."""
    column = pl.col(f"{name}{suffix}")
    if name == "timestamp":
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    text = column.cast(pl.String)
    return text if name in {"side", "trade_kind"} else text.str.strip_chars_end("0").str.strip_chars_end(".")


def _unless_withdrawn(text: pl.Expr, otherwise: pl.Expr) -> pl.Expr:
    """A text about the held version, `otherwise` if that is withdrawn, "" if no version is held."""
    is_withdrawn = pl.col(f"match_count{_HELD}") == WITHDRAWN
    return pl.when(is_withdrawn).then(otherwise).otherwise(text).fill_null("")


def _is_message() -> pl.Expr:
    return pl.all_horizontal(pl.col(name) == pl.col(f"{name}{_HELD}") for name in COORDINATES)


def _is_earlier() -> pl.Expr:
    row, held = pl.col("published_at"), pl.col(f"published_at{_HELD}")
    return (row < held) | ((row == held) & (pl.col("raw_offset") < pl.col(f"raw_offset{_HELD}")))
