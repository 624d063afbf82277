"""The committed files that are made from the models, and their content."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from schemas import kinds, reasons
from schemas.records import BronzeTrade, DeadLetter, DuplicateTrade, RawTrade, SilverTrade
from schemas.wire import avro_schema

_HERE = Path(__file__).parent
_FILES: dict[str, type[BaseModel]] = {
    "raw_trade": RawTrade,
    "bronze_trade": BronzeTrade,
    "silver_trade": SilverTrade,
    "duplicate_trade": DuplicateTrade,
    "dead_letter": DeadLetter,
}


def derived_files() -> dict[Path, str]:
    """The content of each derived file, by path."""
    files = {
        _HERE / f"{name}.avsc": json.dumps(avro_schema(model), indent=2, ensure_ascii=False) + "\n"
        for name, model in _FILES.items()
    }
    docs = _HERE.parent / "docs"
    files |= {docs / "reasons.md": reasons.documentation(), docs / "kinds.md": kinds.documentation()}
    return files
