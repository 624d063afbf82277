"""Keeps rows on disk in buckets by trade id, so that all rows of one trade are read together in bounded memory."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from itertools import pairwise
from pathlib import Path
from threading import Lock

import polars as pl
import pyarrow as pa

from config.places import nearest
from offload.clickhouse.client import CHUNK_BYTES
from offload.errors import DiskSpaceError

# All rows of a bucket are in memory at once, and several copies of them while they are compared.
BUCKET_ROWS = 30_000
# With more buckets than this, rows go into groups of buckets first. Dividing a piece into thousands of buckets would
# cost more than writing it.
GROUPS = 64
_DIVIDE_ROWS = 65_536
# Upper bound on what a compared row of Silver or Bronze takes on disk (test_spill.py measures it).
BYTES_A_ROW = 1_024
_NUMBER = "bucket_number"


def bucket_count(rows: int) -> int:
    """The number of buckets for `rows` rows, with about `BUCKET_ROWS` rows in each."""
    return -(-rows // BUCKET_ROWS)


def ensure_disk_space(folder: Path, rows: int, otherwise: str = "") -> None:
    """Refuse a comparison of `rows` rows if the disk of `folder` is too small. `folder` need not exist yet.

    `otherwise`: for the message, the alternative to a larger disk, such as "re-derive one --symbol at a time".

    Raises:
        DiskSpaceError: the disk cannot hold that many rows of Silver and Bronze.
    """
    place = nearest(folder.absolute())
    free, needed = shutil.disk_usage(place).free, rows * BYTES_A_ROW
    if needed > free:
        raise DiskSpaceError(
            f"To compare {rows:,} rows takes up to {needed >> 20:,} MiB of temporary files, but the disk of {place}"
            f" has {free >> 20:,} MiB left. Nothing was changed. Set TMPDIR to a folder on a larger disk"
            f"{otherwise and ', or '}{otherwise}."
        )


class Spill:
    """Rows with the same columns in buckets, each of which is a file of `folder`.

    `by`: the number of a row's bucket; by default the hash of `trade_id` modulo `buckets`. Several threads may add.
    """

    def __init__(self, folder: Path, buckets: int, by: pl.Expr | None = None) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._by = pl.col("trade_id").hash(seed=0) % buckets if by is None else by
        self._groups = GROUPS if by is None and buckets > GROUPS else 0
        self._divided: set[int] = set()
        self._empty: pl.DataFrame | None = None
        self._schema = pa.schema([])
        self._lock = Lock()

    @property
    def empty(self) -> pl.DataFrame:
        """No rows, with the columns of those added.

        Raises:
            LookupError: nothing was added yet, so the columns are unknown.
        """
        if self._empty is None:
            raise LookupError(f"{self._folder} is empty: add rows or an empty frame before you read it.")
        return self._empty

    def add(self, rows: pl.DataFrame) -> None:
        """Append each row to its bucket, in order."""
        with self._lock:
            if self._empty is None:
                self._empty = rows.clear()
                self._schema = _arrow(self._empty).schema
            if self._groups and not self._divided:
                self._write(rows, self._by % self._groups, "group-")
            else:
                self._write(rows, self._by, "")

    def read(self, bucket: int) -> pl.DataFrame:
        """All rows of a bucket. Raises LookupError as `empty`."""
        batches = list(self._batches(bucket))
        return self._frame(batches) if batches else self.empty

    def pieces(self, bucket: int) -> Iterator[pl.DataFrame]:
        """The rows of a bucket, piece by piece as they were added."""
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
            # A file is a sequence of Arrow messages without a schema. It is opened for each write, since there are too
            # many buckets to keep their files open.
            with self._path(f"{prefix}{bucket}").open("ab") as file:
                file.write(batch.slice(start, end - start).serialize())

    def _batches(self, bucket: int) -> Iterator[pa.RecordBatch]:
        if self._groups:
            self._divide(bucket % self._groups)
        yield from self._messages(self._path(f"{bucket}"))

    def _divide(self, group: int) -> None:
        """Divide the file of a group into the files of its buckets."""
        if group in self._divided:
            return
        self._divided.add(group)
        path = self._path(f"group-{group}")
        for batches in _batched(self._messages(path)):
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


def _batched(batches: Iterable[pa.RecordBatch]) -> Iterator[list[pa.RecordBatch]]:
    held: list[pa.RecordBatch] = []
    for batch in batches:
        held.append(batch)
        if sum(part.num_rows for part in held) >= _DIVIDE_ROWS:
            yield held
            held = []
    if held:
        yield held
