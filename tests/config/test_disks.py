"""Invariant: a full disk is known by its numbers and by every failure it causes."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from pyiceberg.io.pyarrow import PyArrowFileIO

from config.process.disk_metrics import DiskMetrics
from config.process.disks import FULL, LOW, OK, Disk, local_folder, measure, no_space

MIB, GIB = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("free", "size", "level"),
    [
        (5 * MIB, 60 * MIB, FULL),
        (8 * MIB, 60 * MIB, LOW),
        (30 * MIB, 60 * MIB, OK),
        (100 * MIB, 100 * GIB, FULL),
        (10 * GIB, 100 * GIB, LOW),
        (20 * GIB, 100 * GIB, OK),
        (2 * GIB, 4_000 * GIB, LOW),
        (25 * GIB, 4_000 * GIB, OK),
    ],
)
def test_levels(free: int, size: int, level: str) -> None:
    assert Disk("data folder", Path("/d"), free, size).level == level


def test_one_disk_of_two_folders_is_measured_once(tmp_path: Path) -> None:
    (one,) = measure({"data folder": tmp_path, "warehouse": tmp_path, "gone": tmp_path / "gone"})
    assert (one.name, one.path) == ("data folder, warehouse", tmp_path)
    assert 0 <= one.free <= one.size


def test_a_full_disk_behind_a_failure_is_found() -> None:
    wrapped = RuntimeError("commit failed")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device", "/w/x.parquet")
    assert no_space(wrapped) is wrapped.__cause__
    for said in ("(sqlite3.OperationalError) database or disk is full", "Code: 243. DB::Exception: Cannot reserve 1 B"):
        error = ValueError(said)
        assert no_space(error) is error
    assert no_space(OSError(errno.EACCES, "Permission denied")) is None
    assert no_space(None) is None


def test_a_warehouse_s_folder_is_the_one_that_pyiceberg_writes_to() -> None:
    for place in ("/a b/warehouse", "/a%20b/warehouse"):
        assert local_folder(f"file://{place}") == Path(PyArrowFileIO.parse_location(f"file://{place}")[2])
    assert local_folder("s3://bucket/warehouse") is None


def test_metrics_of_a_folder(tmp_path: Path) -> None:
    registry = CollectorRegistry()
    registry.register(DiskMetrics({"warehouse": tmp_path}))
    text = generate_latest(registry).decode()
    assert 'medallion_disk_free_bytes{disk="warehouse"}' in text
    assert 'medallion_disk_size_bytes{disk="warehouse"}' in text
