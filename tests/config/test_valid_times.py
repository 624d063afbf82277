"""The last valid time has one definition: no other file of the product writes it down."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path

from config import valid_times
from config.valid_times import END, END_US
from offload.clickhouse.templates import render

ROOT = Path(__file__).parents[2]
ROOMS = (
    "bench", "cli", "config", "ddl", "deploy", "offload",
    "producers", "schemas", "series", "serving", "silver_processor",
)  # fmt: skip
WRITTEN = re.compile(r"\b7258118(399|400)|\bdate(time)?\(2200,|2200-01-01 ")


def test_no_other_file_has_the_last_valid_time() -> None:
    files = chain.from_iterable((ROOT / room).rglob(f"*.{kind}") for room in ROOMS for kind in ("py", "sql", "js"))
    having = [
        str(file.relative_to(ROOT))
        for file in files
        if WRITTEN.search(file.read_text(encoding="utf-8").replace("_", ""))
    ]
    assert having == [str(Path(valid_times.__file__).relative_to(ROOT))]


def test_sql_has_the_same_time() -> None:
    """2200-01-01 in ms, counted apart from the module: 230 years of which 56 have a leap day (2000 has, 2100 not)."""
    days = 230 * 365 + 56
    assert days * 86_400 * 1_000_000 == END_US
    assert END.isoformat() == "2200-01-01T00:00:00+00:00"
    assert f"< {days * 86_400 * 1_000}, 1," in render("kafka_time.sql", column="published_at")
