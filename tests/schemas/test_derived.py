"""Schemas are derived from the models, never retyped."""

from __future__ import annotations

from pathlib import Path

import fastavro
import pyarrow as pa
import pytest
from pydantic import BaseModel

from schemas.derived import derived_files
from schemas.reasons import MEANINGS, Reason, documentation
from schemas.records import BRONZE, SILVER, BronzeTrade
from schemas.wire import SchemaError, arrow_schema, avro_schema


@pytest.mark.parametrize("path", sorted(derived_files()), ids=lambda path: path.name)
def test_committed_file_equals_its_derivation(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == derived_files()[path], "run `python -m schemas`"


@pytest.mark.parametrize("path", [p for p in derived_files() if p.suffix == ".avsc"], ids=lambda path: path.name)
def test_committed_avro_schema_is_valid_avro(path: Path) -> None:
    assert fastavro.schema.load_schema(path)["type"] == "record"


def test_every_reason_has_a_meaning_and_a_documented_line() -> None:
    assert set(MEANINGS) == set(Reason)
    text = documentation()
    assert all(f"| `{reason}` | {MEANINGS[reason].rule} |" in text for reason in Reason)


def test_architecture_names_every_reason() -> None:
    """The contract between the parts and the enum are one list (the five of price stand for quantity's)."""
    text = (Path(__file__).resolve().parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    assert [r.value for r in Reason if f"`{r}`" not in text and not r.startswith("quantity_")] == []


def test_arrow_schemas_follow_the_models() -> None:
    assert BRONZE.names == list(BronzeTrade.model_fields)
    assert SILVER.field("quote_volume").type == pa.decimal128(38, 20)
    assert not any(field.nullable for field in (*BRONZE, *SILVER))


def test_a_field_without_a_wire_type_is_refused() -> None:
    class Loose(BaseModel):
        price: float

    for derive in (avro_schema, arrow_schema):
        with pytest.raises(SchemaError, match=r"Loose\.price"):
            derive(Loose)
