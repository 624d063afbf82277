"""Field types with their wire formats. Makes Avro and Arrow schemas from models."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

import pyarrow as pa
from pydantic import BaseModel, BeforeValidator, Field

NAMESPACE = "market.crypto.trades"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Wire:
    """The wire formats of a field: its Avro type (a name, or a name with a logical type) and its Arrow type."""

    avro: str | dict[str, str | int]
    arrow: pa.DataType


class SchemaError(TypeError):
    """A field's type has no `Wire`: annotate it with a type of this module."""


def _ticks(unit: timedelta) -> BeforeValidator:
    def count(value: object) -> object:
        return (value - _EPOCH) // unit if isinstance(value, datetime) else value

    return BeforeValidator(count)


Text = Annotated[str, Wire("string", pa.string())]
UInt32 = Annotated[int, Field(ge=0, lt=2**32), Wire("long", pa.uint32())]
# Avro has no unsigned long. ClickHouse writes UInt64 as long, which Kafka offsets fit.
UInt64 = Annotated[int, Field(ge=0, lt=2**64), Wire("long", pa.uint64())]
Micros = Annotated[
    int,
    _ticks(timedelta(microseconds=1)),
    Wire({"type": "long", "logicalType": "timestamp-micros"}, pa.timestamp("us", tz="UTC")),
]
Millis = Annotated[
    int,
    _ticks(timedelta(milliseconds=1)),
    Wire({"type": "long", "logicalType": "timestamp-millis"}, pa.timestamp("ms", tz="UTC")),
]
MicrosNumber = Annotated[int, Wire("long", pa.int64())]
MillisNumber = Annotated[int, Wire("long", pa.int64())]
Amount = Annotated[
    Decimal,
    Field(max_digits=38, decimal_places=18),
    Wire({"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 18}, pa.decimal128(38, 18)),
]
QuoteAmount = Annotated[
    Decimal,
    Field(max_digits=38, decimal_places=20),
    Wire({"type": "bytes", "logicalType": "decimal", "precision": 38, "scale": 20}, pa.decimal128(38, 20)),
]
Side = Annotated[Literal["BUY", "SELL"], Wire("string", pa.string())]


def _wires(model: type[BaseModel]) -> dict[str, Wire]:
    wires: dict[str, Wire] = {}
    for name, field in model.model_fields.items():
        wire = next((item for item in field.metadata if isinstance(item, Wire)), None)
        if wire is None:
            message = f"{model.__name__}.{name} has no Wire: annotate it with a type of schemas.wire"
            raise SchemaError(message)
        wires[name] = wire
    return wires


def avro_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The Avro record of a model (Avro 1.11 specification). Fields are required, in the model's order.

    A field's default becomes the Avro default, so a reader accepts records from before the field existed.

    Raises:
        SchemaError: a field has no wire type.
    """
    fields: list[dict[str, Any]] = []
    for name, wire in _wires(model).items():
        entry: dict[str, Any] = {"name": name, "type": wire.avro}
        if not model.model_fields[name].is_required():
            entry["default"] = model.model_fields[name].default
        fields.append(entry)
    return {
        "type": "record",
        "name": model.__name__,
        "namespace": NAMESPACE,
        # ClickHouse names every record it writes `row`.
        "aliases": ["row"],
        "doc": (model.__doc__ or "").strip().splitlines()[0],
        "fields": fields,
    }


def arrow_schema(model: type[BaseModel]) -> pa.Schema:
    """The Arrow schema of a model: one non-null column for each field, in the model's order.

    Raises:
        SchemaError: a field has no wire type.
    """
    return pa.schema([pa.field(name, wire.arrow, nullable=False) for name, wire in _wires(model).items()])
