"""The check before a comparison: enough for the rows, and said before anything is written."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace

import polars as pl
import pytest

from offload.difference.spill import BYTES_A_ROW, Spill, bucket_count, ensure_disk_space
from offload.errors import DiskSpaceError
from schemas.records import BRONZE, SILVER

ROWS = 40_000
# A UUID or a long number of an exchange; names and texts of a message are shorter than that.
TEXT = "6f1f2c1e-8a35-4a5e-9a53-0123456789ab"


def rows(kind: str) -> pl.DataFrame:
    """As many rows of the layer as its schema has columns for, every text as long as an id."""
    empty = pl.DataFrame((SILVER if kind == "silver" else BRONZE).empty_table())
    values = {
        name: pl.lit(TEXT) if dtype == pl.String else pl.lit(None, dtype=dtype) for name, dtype in empty.schema.items()
    }
    numbers = pl.int_range(ROWS, eager=True).cast(pl.String)
    frame = pl.select(pl.repeat(0, ROWS).alias("_")).with_columns(**values).drop("_")
    return frame.with_columns(trade_id=numbers.str.zfill(36)).select(empty.columns)


@pytest.mark.parametrize("kind", ["silver", "bronze"])
def test_a_row_takes_no_more_than_is_counted_with(kind: str, tmp_path: Path) -> None:
    spill = Spill(tmp_path / kind, bucket_count(ROWS))
    spill.add(rows(kind))
    taken = sum(file.stat().st_size for file in (tmp_path / kind).iterdir())
    assert taken <= ROWS * BYTES_A_ROW < 4 * taken, "and not so much that a disk is refused that would do"


def test_a_disk_that_is_too_small_is_named_before_it_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MiB, as compose's /tmp: 300,000 trades, each once in Silver and once in Bronze, do not fit."""
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=64 << 20))
    ensure_disk_space(tmp_path / "not" / "there" / "yet", 1_000)
    with pytest.raises(DiskSpaceError, match=r"600,000 rows .* 64 MiB left.*TMPDIR"):
        ensure_disk_space(tmp_path, 600_000)
    assert not list(tmp_path.iterdir())
