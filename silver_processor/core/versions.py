"""Versions of a trade: whether two messages with one identity agree, and how they differ if not.

Compared are price, quantity, time, side and kind, as values: 1.50 is 1.5. Not compared are columns that depend on the
source: the sequence, which dumps and REST lack, and the name of the market, of which there may be several.

- Two times agree if they are equal, or less than a millisecond apart and one of them in whole milliseconds: some
sources
  have microseconds and others cut or round them.
- Two quantities of equally many matches are compared. Of fewer matches a message has no more than the other: a part of
  it, or all, since some sources leave the number out.
- Two kinds are compared only if neither is `market`, which is also the kind of a source that knows no kinds.
"""

from __future__ import annotations

import polars as pl

from schemas.kinds import TradeKind
from schemas.reasons import Reason
from schemas.records import SILVER
from silver_processor.core.refine import PLACE

IDENTITY = ("exchange", "symbol", "trade_id")
# Compared columns → their names in Bronze.
CONTENT = {
    "price": "price_text",
    "quantity": "quantity_text",
    "timestamp": "timestamp",
    "side": "side",
    "trade_kind": "kind",
}
# The reasons of dead letters about versions.
ABOUT_VERSIONS = (Reason.TRADE_CONTRADICTS, Reason.TRADE_SUPERSEDED)
# A held version: identity, compared columns, and the coordinates of its raw message.
_SILVER_TYPES = pl.DataFrame(SILVER.empty_table()).schema
HELD = pl.Schema({name: _SILVER_TYPES[name] for name in (*IDENTITY, *CONTENT, "match_count", *PLACE)})
_FLAGS = ("is_known", "is_message", "is_earlier")
_TEXTS = ("field", "value", "limit")
_COMPARED = pl.Schema(
    {
        **{name: HELD[name] for name in (*IDENTITY, *PLACE)},
        **dict.fromkeys(_FLAGS, pl.Boolean()),
        **dict.fromkeys(_TEXTS, pl.String()),
    }
)
_HELD = "_held"
_MILLISECOND_US = 1_000


def compare(rows: pl.DataFrame, held: pl.DataFrame) -> pl.DataFrame:
    """Each row beside the version that is held of its trade; a row each, in order.

    `rows` and `held` have the columns of `HELD` (and any more). Returns `IDENTITY`, `PLACE` and `is_known` (a version
    is held), `is_message` (it is this very message), `is_earlier` (this message was published before that one),
    `field` (the names of Bronze's columns that differ, `""` if none), `value` and `limit` (what this message and that
    one say in them).
    """
    # Every insert calls this, mostly with no rows.
    if not rows.height:
        return _COMPARED.to_frame()
    mine = versions_of(rows).with_row_index("row")
    theirs = versions_of(held).with_columns(is_known=pl.lit(value=True))
    met = mine.join(theirs, on=IDENTITY, how="left", suffix=_HELD, maintain_order="left")
    told = met.with_columns(
        pl.col("is_known").fill_null(value=False),
        _is_message().fill_null(value=False).alias("is_message"),
        _is_earlier().fill_null(value=False).alias("is_earlier"),
        _listed({name: pl.lit(bronze) for name, bronze in CONTENT.items()}).fill_null("").alias("field"),
        _said("").fill_null("").alias("value"),
        (_said(_HELD) + pl.format(" ({}[{}]@{})", *(f"{name}{_HELD}" for name in PLACE[:3])))
        .fill_null("")
        .alias("limit"),
    )
    # Silver should hold a trade once. If it holds two versions, one that agrees counts.
    nearest = told.sort("row", ~pl.col("is_message"), pl.col("field") != "", maintain_order=True)
    return nearest.unique("row", keep="first", maintain_order=True).select(_COMPARED.names())


def contradicting(compared: pl.DataFrame) -> pl.DataFrame:
    """The compared rows that come from another message and differ."""
    return compared.filter(pl.col("is_known") & ~pl.col("is_message") & (pl.col("field") != ""))


def overruled(compared: pl.DataFrame) -> pl.DataFrame:
    """Of rows compared with the corrections, those that differ, with the `reason` of each.

    A message published before the accepted version is superseded. A later one contradicts it.
    """
    contradicts, superseded = (pl.lit(reason.value) for reason in ABOUT_VERSIONS)
    return contradicting(compared).with_columns(
        pl.when("is_earlier").then(superseded).otherwise(contradicts).alias("reason")
    )


NONE_OVERRULED = overruled(_COMPARED.to_frame())


def versions_of(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of Silver, hot or cold, as versions of their trades (`HELD`)."""
    return rows.select(HELD.names()).cast(HELD)


def _differs(name: str) -> pl.Expr:
    mine, held = pl.col(name), pl.col(f"{name}{_HELD}")
    if name == "timestamp":
        mine, held = mine.dt.epoch("us"), held.dt.epoch("us")
        is_near = (mine - held).abs() < _MILLISECOND_US
        is_whole = (mine % _MILLISECOND_US == 0) | (held % _MILLISECOND_US == 0)
        return (mine != held) & ~(is_near & is_whole)
    if name == "quantity":
        count, held_count = pl.col("match_count"), pl.col(f"match_count{_HELD}")
        is_too_much = pl.when(count < held_count).then(mine > held).otherwise(mine < held)
        return pl.when(count == held_count).then(mine != held).otherwise(is_too_much)
    if name == "trade_kind":
        return (mine != held) & (mine != TradeKind.MARKET.value) & (held != TradeKind.MARKET.value)
    return mine != held


def _listed(said: dict[str, pl.Expr]) -> pl.Expr:
    """The text of each field that differs, in the order of `CONTENT`."""
    texts = (pl.when(_differs(name)).then(text) for name, text in said.items())
    return pl.concat_list(*texts).list.drop_nulls().list.join(", ")


def _said(suffix: str) -> pl.Expr:
    """The values of the fields that differ: `price 150.1, side SELL`."""
    return _listed({name: pl.concat_str(pl.lit(f"{name} "), text_of(name, suffix)) for name in CONTENT})


def text_of(name: str, suffix: str = "") -> pl.Expr:
    """A field of `CONTENT` for people: `1.5`, `2026-07-03T00:00:00.000000Z`."""
    column = pl.col(f"{name}{suffix}")
    if name == "timestamp":
        return column.dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")
    text = column.cast(pl.String)
    return text if name in {"side", "trade_kind"} else text.str.strip_chars_end("0").str.strip_chars_end(".")


def _is_message() -> pl.Expr:
    return pl.all_horizontal(pl.col(name) == pl.col(f"{name}{_HELD}") for name in PLACE)


def _is_earlier() -> pl.Expr:
    mine, held = pl.col("published_at"), pl.col(f"published_at{_HELD}")
    return (mine < held) | ((mine == held) & (pl.col("raw_offset") < pl.col(f"raw_offset{_HELD}")))
