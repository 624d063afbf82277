"""`python -m bench.cold.work KIND SETTINGS ROWS DAY` does one piece of work in its own process, and prints JSON.

KIND is `raw`, `bronze`, `silver` or `gold` (the offload of a layer), `row-wise` or `arrow` (the obvious ways: pyiceberg
appends Silver to a table), `rederive-look` or `rederive` (the re-derivation of the day, as a dry run or in full).
"""

from __future__ import annotations

import json
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any
from uuid import uuid4

import clickhouse_connect
import pyarrow as pa
from clickhouse_driver import Client
from pyiceberg.table import Table

from config.connections import clickhouse_http, clickhouse_native
from config.settings import Settings
from config.valid_times import EARLIEST_US, END_US
from offload.clickhouse.tiers import Tiers
from offload.files.export import select_of
from offload.rederive.run import rederive
from offload.run import run
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import BY_NAME, LAYERS

Work = Callable[[Settings, str, int, datetime], tuple[int, int]]
_SILVER = BY_NAME["silver_trades"]
_FROM, _TO = EARLIEST_US, END_US
# Rows of an append, as in a loop over a cursor.
_BATCH = 1_000
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def main() -> None:
    """Do the work. Prints rows, bytes, seconds, CPU, and peak resident memory before the work and in all."""
    kind, settings, rows, day = sys.argv[1], Settings(**json.loads(sys.argv[2])), int(sys.argv[3]), sys.argv[4]
    before = _peak_rss_kib()
    began = time.perf_counter()
    done, size = _WORK.get(kind, _offload)(settings, kind, rows, datetime.fromisoformat(day))
    seconds = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF)
    found = {
        "kind": kind,
        "rows": done,
        "bytes": size,
        "seconds": seconds,
        "cpu_s": used.ru_utime + used.ru_stime,
        "rss_before_mb": before / 1024,
        "peak_rss_mb": _peak_rss_kib() / 1024,
    }
    sys.stdout.write(json.dumps(found) + "\n")


def _peak_rss_kib() -> int:
    """Peak resident memory of this process since it started its program, KiB (Linux).

    `ru_maxrss` would be wrong: exec does not reset it, so the value of a child is at least that of its parent.

    Raises:
        LookupError: the kernel does not give the value.
    """
    found = _PEAK.search(Path("/proc/self/status").read_text(encoding="ascii", errors="replace"))
    if found is None:
        raise LookupError("/proc/self/status has no VmHWM")
    return int(found[1])


def _offload(settings: Settings, kind: str, rows: int, day: datetime) -> tuple[int, int]:
    del rows, day
    report = run(Tiers.open(settings), layers=tuple(layer for layer in LAYERS if layer == kind), again=True)
    written = [part for part in report.slices if part.outcome == "written"]
    return sum(part.rows for part in written), sum(part.bytes for part in written)


def _row_wise(settings: Settings, kind: str, rows: int, day: datetime) -> tuple[int, int]:
    """Append the rows of a cursor, a thousand at a time."""
    del kind, day
    table = _plain_table(settings)
    schema = table.schema().as_arrow()
    sql = _silver_sql(settings).replace("{from_us:Int64}", str(_FROM)).replace("{to_us:Int64}", str(_TO))
    cursor = Client(**clickhouse_native(settings)).execute_iter(sql)
    for batch in _batches(islice(cursor, rows)):
        table.append(pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in batch], schema))
    return rows, 0


def _plain_table(settings: Settings) -> Table:
    """An empty table without partitions: pyiceberg on its own cannot write into partitions by day."""
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings.iceberg_namespace)
    return catalog.create_table(f"{settings.iceberg_namespace}.appended_{uuid4().hex}", _SILVER.schema)


def _batches(cursor: Iterator[tuple[Any, ...]]) -> Iterator[list[tuple[Any, ...]]]:
    while batch := list(islice(cursor, _BATCH)):
        yield batch


def _arrow(settings: Settings, kind: str, rows: int, day: datetime) -> tuple[int, int]:
    """Append all rows as one Arrow table."""
    del kind, day
    table = _plain_table(settings)
    client = clickhouse_connect.get_client(**clickhouse_http(settings))
    parameters = {"from_us": _FROM, "to_us": _TO}
    found = client.query_arrow(f"{_silver_sql(settings)} LIMIT {rows}", parameters=parameters, use_strings=True)
    table.append(found.cast(table.schema().as_arrow()))
    return found.num_rows, 0


def _silver_sql(settings: Settings) -> str:
    return select_of(_SILVER, partition=False, hot=f"{settings.clickhouse_database}.{_SILVER.hot}")


def _rederive(settings: Settings, kind: str, rows: int, day: datetime) -> tuple[int, int]:
    del rows
    days = rederive(Tiers.open(settings), day, day + timedelta(days=1), dry_run=kind == "rederive-look")
    return sum(one.rows for one in days), 0


_WORK: dict[str, Work] = {
    "row-wise": _row_wise,
    "arrow": _arrow,
    "rederive-look": _rederive,
    "rederive": _rederive,
}

if __name__ == "__main__":
    main()
