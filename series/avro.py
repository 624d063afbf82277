"""The Avro schema of the typed rows of a series, as the declaration says (Avro 1.11 specification). Pure."""

from __future__ import annotations

from typing import Any

from series.declaration import ARRIVAL, Column, Series

_NAMESPACE = "market.crypto.series"
_MOMENT: dict[str, str | int] = {"type": "long", "logicalType": "timestamp-micros"}
_TYPES: dict[str, str | dict[str, str | int]] = {
    "text": "string",
    "time": _MOMENT,
    "decimal": {"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18},
    # Avro has no unsigned long, and ClickHouse writes UInt64 as long.
    "integer": "long",
}


def avro_schema(series: Series) -> dict[str, Any]:
    """The record of a row with exact decimals: the last of `Series.views`, or `Series.snapshots`.

    Fields have the names and the order of the columns; times are µs since the epoch (UTC), decimals have 18 places. A
    column that is optional is a union with null, null by default. An integer of 2^63 or more appears minus 2^64, as
    ClickHouse writes it.
    """
    closed = {"name": "is_closed", "type": "boolean", "doc": "the window was over when the provider answered"}
    return {
        "type": "record",
        "name": "".join(part.capitalize() for part in series.name.split("_")),
        "namespace": _NAMESPACE,
        # ClickHouse names every record it writes `row`.
        "aliases": ["row"],
        "doc": series.about,
        "fields": [
            *(_field(column) for column in series.columns),
            *([closed] if series.frame else []),
            {"name": "provider", "type": "string", "doc": "the service that published the row: binance"},
            {"name": "answer_id", "type": "string", "doc": f"the answer it is from: see {series.landing}"},
            {"name": "place", "type": "long", "doc": "its place among the rows of the answer, from 1"},
            {"name": ARRIVAL, "type": _MOMENT, "doc": "when the answer came"},
        ],
    }


def _field(column: Column) -> dict[str, Any]:
    field: dict[str, Any] = {"name": column.name, "type": _TYPES[column.type], "doc": column.comment}
    return field | ({"type": ["null", _TYPES[column.type]], "default": None} if column.is_optional else {})
