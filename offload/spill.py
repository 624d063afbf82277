"""Rows on disk in buckets by trade id: what belongs to one trade is met together, whatever the size of the day."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa

from offload.hot import CHUNK_BYTES

# The rows of a bucket are in memory at once, several times over while they are compared.
BUCKET_ROWS = 200_000


def bucket_count(rows: int) -> int:
    """How many buckets keep each below about `BUCKET_ROWS`."""
    return max(1, -(-rows // BUCKET_ROWS))


class Spill:
    """Rows of one kind (all added frames have the same columns), in `buckets` files of a folder."""

    def __init__(self, folder: Path, buckets: int) -> None:
        folder.mkdir(parents=True)
        self._folder = folder
        self._buckets = buckets
        self._empty: pl.DataFrame | None = None

    @property
    def empty(self) -> pl.DataFrame:
        """No rows, with the columns of all.

        Raises:
            LookupError: nothing was ever added, so that not even the columns are known.
        """
        if self._empty is None:
            raise LookupError(f"{self._folder} is empty: add rows, or an empty frame, before reading")
        return self._empty

    def add(self, rows: pl.DataFrame, by: pl.Expr | None = None) -> None:
        """Append rows, each to the bucket of its `trade_id` or of the number `by`."""
        if self._empty is None:
            self._empty = rows.clear()
        number = pl.col("trade_id").hash(seed=0) % self._buckets if by is None else by
        for (bucket,), part in rows.group_by(number.alias("bucket")):
            content = part.to_arrow(compat_level=pl.CompatLevel.oldest())
            # Streams one after the other: an open file each would be too many.
            with self._path(bucket).open("ab") as file, pa.ipc.new_stream(file, content.schema) as writer:
                writer.write_table(content)

    def read(self, bucket: object) -> pl.DataFrame:
        """All rows of a bucket. Raises LookupError as `empty`."""
        return pl.concat([self.empty, *self.pieces(bucket)])

    def pieces(self, bucket: object) -> Iterator[pl.DataFrame]:
        """The rows of a bucket as they were added, piece by piece."""
        path = self._path(bucket)
        if not path.exists():
            return
        size = path.stat().st_size
        with path.open("rb", buffering=CHUNK_BYTES) as file:
            while file.tell() < size:
                yield pl.DataFrame(pa.ipc.open_stream(file).read_all()).cast(self.empty.schema)

    def _path(self, bucket: object) -> Path:
        return self._folder / f"{bucket}.arrows"
