"""Views in ClickHouse that show hot and cold rows as one table: `silver_trades_all`, `gold_ohlcv_<tf>[_exact]_all`.

They are made by the first offload run, since only the catalog knows where the cold tables are, and made again when that
place or their definition changes. They follow the cold tables by their hints (`offload.files.version_hint`), and what
has left the hot tables by `left_partitions`, which the gate writes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256

from pydantic import BaseModel, ConfigDict
from pyiceberg.table import Table
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

from config.settings import Settings
from ddl.layers import STATE_TABLE, load_layers
from ddl.quoting import quote_string
from offload.clickhouse.client import ClickHouseHttp, HotStore
from offload.clickhouse.locations import iceberg_source
from offload.clickhouse.templates import render
from offload.files.version_hint import publish_hint
from offload.tables.catalog import ensure_tables, open_catalog
from offload.tables.cold_tables import TABLES, ColdTable
from offload.tables.slice_records import read_ledger
from offload.tables.slices import DAY_US, instant, parse_gold_id, period_of

# A query that began before a partition was announced has looked where it is by then, however long it runs.
PLANNING_SECONDS = 5.0
_ID = {"day": "%Y%m%d", "month": "%Y%m"}


class UnionView(BaseModel):
    """One view; `marked` are partitions found to be cold and not, or not wholly, hot: read from Iceberg from now on."""

    model_config = ConfigDict(frozen=True)

    view: str
    created: bool
    marked: tuple[str, ...]


def update_union_views(settings: Settings, hot: HotStore | None = None, *, check: bool = False) -> list[UnionView]:
    """Bring the hints up to date; make the views that are missing or point elsewhere, and look what has left.

    `check` looks what has left even where the view is as it should be: after a hot partition was dropped by hand.

    Raises:
        OffloadError: ClickHouse or the warehouse failed.
    """
    store: HotStore = hot or ClickHouseHttp(settings)
    catalog = open_catalog(settings)
    ensure_tables(catalog, settings.iceberg_namespace)
    tables = {cold.name: publish_hint(catalog, f"{settings.iceberg_namespace}.{cold.name}") for cold in TABLES}
    known = {row["name"]: row["comment"] for row in store.rows(render("union_views.sql"), {})}
    found = []
    for cold in TABLES:
        if cold.layer not in {"silver", "gold"}:
            continue
        table = tables[cold.name]
        wanted = _definitions(store, cold, table)
        news = {view for view, (_, comment) in wanted.items() if known.get(view) != comment}
        marked = _mark_missing(store, cold, table) if news or check else ()
        for view, (statement, comment) in wanted.items():
            if view in news:
                store.command(f"{statement}\nCOMMENT '{comment}'", {})
            found.append(UnionView(view=view, created=view in news, marked=marked))
    return found


def mark_cold(hot: HotStore, tables: Sequence[ColdTable], period: str, until_us: int) -> None:
    """From now on the views read a day or month of `tables` from Iceberg, but rows that arrived after `until_us`.

    Returns when no query is under way that began before, or has had time enough to look where the partition is.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    for cold in tables:
        hot.command(render("insert_left_partition.sql"), {"table": cold.name, "partition": period, "until_us": until_us})
    before = {"before_us": int(hot.rows(render("clock.sql"), {})[0]["now_us"])}
    Retrying(
        retry=retry_if_result(lambda count: count > 0),
        stop=stop_after_delay(PLANNING_SECONDS),
        wait=wait_fixed(0.05),
        retry_error_callback=lambda _: None,
    )(lambda: int(hot.rows(render("queries_under_way.sql"), before)[0]["under_way"]))


def _definitions(hot: HotStore, cold: ColdTable, table: Table) -> dict[str, tuple[str, str]]:
    """By view its statement and a comment that tells this definition from others."""
    if cold.layer == "gold":
        statements = {f"{view}_all": _candles(table, cold, view) for view in (cold.hot, cold.name)}
    else:
        statements = {f"{cold.hot}_all": _trades(hot, cold, table)}
    return {
        view: (
            statement,
            f"Hot and cold rows; made by the offload, definition {sha256(statement.encode()).hexdigest()}",
        )
        for view, statement in statements.items()
    }


def _candles(table: Table, cold: ColdTable, hot_view: str) -> str:
    frame = next(frame for frame in load_layers().timeframes if frame.view == cold.name)
    return render(
        "view_gold_all.sql",
        view=f"{hot_view}_all",
        source=iceberg_source(table),
        hot=hot_view,
        exact=hot_view == cold.hot,
        table=cold.name,
        state=STATE_TABLE,
        partition="toYYYYMMDD" if cold.period == "day" else "toYYYYMM",
        window_start=frame.window_start_sql,
        seconds=frame.seconds,
    )


def _trades(hot: HotStore, cold: ColdTable, table: Table) -> str:
    types = {row["name"]: row["type"] for row in hot.rows(render("column_types.sql"), {"table": cold.hot})}
    casts = [f"CAST({_meant(cold, name)}, {quote_string(types[name])}) AS {name}" for name, _, _ in cold.columns]
    names = [name for name, _, _ in cold.columns]
    return render(
        "view_silver_all.sql",
        view=f"{cold.hot}_all",
        source=iceberg_source(table),
        hot=cold.hot,
        names=names,
        casts=casts,
    )


def _cold_column(cold: ColdTable, name: str) -> str:
    """A cold column; in files from before it Iceberg has NULL."""
    return f"ifNull(cold.{name}, {cold.later[name]!r})" if name in cold.later else f"cold.{name}"


def _mark_missing(hot: HotStore, cold: ColdTable, table: Table) -> tuple[str, ...]:
    """Mark the cold partitions that the hot tables lack rows of: dropped before there were marks, by hand, or lost."""
    sql = render("count_partitions.sql", table=cold.hot_table, bucket_seconds=cold.bucket_seconds)
    here = Counter({period_of(row["partition_id"]): int(row["measure"]) for row in hot.rows(sql, {})})
    known = {row["partition_id"] for row in hot.rows(render("left_partitions.sql"), {"table": cold.name})}
    lacking = sorted(
        partition
        for partition, measure in _cold_measures(cold, table).items()
        if partition not in known and here[partition] < measure
    )
    for partition in lacking:
        mark_cold(hot, [cold], partition, 0)
    return tuple(lacking)


def _cold_measures(cold: ColdTable, table: Table) -> Mapping[str, int]:
    """Rows of each hot partition's time in Iceberg, of Gold the trades in the candles; without reading a row."""
    found: Counter[str] = Counter()
    if cold.layer == "gold":
        for name, record in read_ledger(table.properties).items():
            found[f"{instant(parse_gold_id(cold, name).from_us):{_ID[cold.period]}}"] += record.measure
        return found
    for task in table.scan().plan_files():
        # A day transform counts days since the epoch.
        found[f"{instant(task.file.partition[0] * DAY_US):{_ID[cold.period]}}"] += task.file.record_count
    return found
