"""Rows on disk in buckets by trade id: what belongs to one trade is met together, whatever the size of the day."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from threading import Lock

import polars as pl
import pyarrow as pa

from offload.clickhouse.client import CHUNK_BYTES
from offload.errors import DiskSpaceError

# The rows of a bucket are in memory at once, several times over while they are compared.
BUCKET_ROWS = 30_000
# With more buckets than this, rows go into groups of buckets first: a piece cut into thousands would be crumbs.
FAN = 64
_SETTLE_ROWS = 65_536
# What a row of Silver or Bronze that is compared takes on disk, at most (test_spill.py measures it).
BYTES_A_ROW = 1_024
_NUMBER = "bucket_number"


def bucket_count(rows: int) -> int:
    """How many buckets keep each below about `BUCKET_ROWS`."""
    return -(-rows // BUCKET_ROWS)


def ensure_room(folder: Path, rows: int) -> None:
    """Find out that the disk of `folder`, which need not exist, is too small before it is full.

    Raises:
        NoRoomError: it cannot hold so many rows of Silver and Bronze.
    """
    while not folder.exists():
        folder = folder.parent
    free, needed = shutil.disk_usage(folder).free, rows * BYTES_A_ROW
    if needed > free:
        raise DiskSpaceError(
            f"Comparing {rows:,} rows takes up to {needed >> 20:,} MiB of temporary files, and the disk of {folder} has"
            f" {free >> 20:,} MiB left. Nothing was changed: set TMPDIR to a folder on a larger disk, or re-derive one"
            " --exchange or --symbol at a time."
        )


class Spill:
    """Rows of one kind (all added frames have the same columns) in buckets, each a file of a folder.

    A row's bucket is `by`, an integer, or one of `buckets` by its `trade_id`. Several threads may add.
    """

    def __init__(self, folder: Path, buckets: int, by: pl.Expr | None = None) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._by = pl.col("trade_id").hash(seed=0) % buckets if by is None else by
        self._groups = FAN if by is None and buckets > FAN else 0
        self._settled: set[int] = set()
        self._empty: pl.DataFrame | None = None
        self._schema = pa.schema([])
        self._lock = Lock()

    @property
    def empty(self) -> pl.DataFrame:
        """No rows, with the columns of all.

        Raises:
            LookupError: nothing was ever added, so that not even the columns are known.
        """
        if self._empty is None:
            raise LookupError(f"{self._folder} is empty: add rows, or an empty frame, before reading")
        return self._empty

    def add(self, rows: pl.DataFrame) -> None:
        """Append rows, each to its bucket, in their order."""
        with self._lock:
            if self._empty is None:
                self._empty = rows.clear()
                self._schema = _arrow(self._empty).schema
            if self._groups and not self._settled:
                self._write(rows, self._by % self._groups, "group-")
            else:
                self._write(rows, self._by, "")

    def read(self, bucket: int) -> pl.DataFrame:
        """All rows of a bucket. Raises LookupError as `empty`."""
        batches = list(self._batches(bucket))
        return self._frame(batches) if batches else self.empty

    def pieces(self, bucket: int) -> Iterator[pl.DataFrame]:
        """The rows of a bucket as they were added, piece by piece."""
        for batch in self._batches(bucket):
            yield self._frame([batch])

    def _write(self, rows: pl.DataFrame, number: pl.Expr, prefix: str) -> None:
        if not rows.height:
            return
        numbered = rows.with_columns(number.cast(pl.Int64).alias(_NUMBER)).sort(_NUMBER, maintain_order=True)
        counts = numbered.group_by(_NUMBER, maintain_order=True).len()
        ends = [0, *counts["len"].cum_sum()]
        (batch,) = _arrow(numbered.drop(_NUMBER)).combine_chunks().to_batches()
        for bucket, (start, end) in zip(counts[_NUMBER], pairwise(ends), strict=True):
            # Messages one after the other, without a schema each: a file held open for each bucket would be too many.
            with self._path(f"{prefix}{bucket}").open("ab") as file:
                file.write(batch.slice(start, end - start).serialize())

    def _batches(self, bucket: int) -> Iterator[pa.RecordBatch]:
        if self._groups:
            self._settle(bucket % self._groups)
        yield from self._messages(self._path(f"{bucket}"))

    def _settle(self, group: int) -> None:
        """Divide a group into its buckets."""
        if group in self._settled:
            return
        self._settled.add(group)
        path = self._path(f"group-{group}")
        for batches in _together(self._messages(path)):
            self._write(self._frame(batches), self._by, "")
        path.unlink(missing_ok=True)

    def _messages(self, path: Path) -> Iterator[pa.RecordBatch]:
        if not path.exists():
            return
        size = path.stat().st_size
        with path.open("rb", buffering=CHUNK_BYTES) as file:
            while file.tell() < size:
                yield pa.ipc.read_record_batch(pa.ipc.read_message(file), self._schema)

    def _frame(self, batches: list[pa.RecordBatch]) -> pl.DataFrame:
        return pl.DataFrame(pa.Table.from_batches(batches, self._schema)).cast(self.empty.schema)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.arrows"


def _arrow(rows: pl.DataFrame) -> pa.Table:
    return rows.to_arrow(compat_level=pl.CompatLevel.oldest())


def _together(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(one.num_rows for one in held) >= _SETTLE_ROWS:
            yield held
            held = []
    if held:
        yield held
