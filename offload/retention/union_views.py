"""Views in ClickHouse that show hot and cold rows as one table: `trades_raw_all`, `silver_trades_all`,
`gold_ohlcv_<tf>[_exact]_all`, `<series>_snapshots_all`.

The first offload run creates them, since only the catalog knows where the cold tables are. A run creates them again
when that location or their definition changes. The views find the cold tables by their version hints
(`offload.files.version_hint`). The table `left_partitions`, which the gate writes, tells them which partitions have
left the hot tables.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from hashlib import sha256

from pydantic import BaseModel, ConfigDict
from pyiceberg.table import Table

from config.process.retry import poll
from ddl.layers import STATE_TABLE, load_layers
from ddl.quoting import quote_string
from offload.clickhouse.client import HotStore
from offload.clickhouse.locations import iceberg_source
from offload.clickhouse.server import server_now_us
from offload.clickhouse.templates import render
from offload.tables.cold_tables import TABLES, ColdTable
from offload.tables.slice_records import read_ledger, read_left
from offload.tables.slices import DAY_US, instant, parse_gold_id, period_of

# After this time a query that began before a partition was marked has planned where to read it, even if it still runs.
PLANNING_SECONDS = 5.0
_POLL_SECONDS = 0.05
# The columns of hot Raw that have other names in Iceberg.
_HOT_NAMES = {"raw_topic": "_topic", "raw_partition": "_partition", "raw_offset": "_offset"}
_ID = {"day": "%Y%m%d", "month": "%Y%m"}
# Type and comment of each column of a hot table.
Columns = dict[str, tuple[str, str]]


class UnionView(BaseModel):
    """One view. `marked`: partitions that lack hot rows; the view reads them from Iceberg from now on."""

    model_config = ConfigDict(frozen=True)

    view: str
    created: bool
    marked: tuple[str, ...]


def update_union_views(hot: HotStore, tables: Mapping[str, Table], *, check: bool = False) -> list[UnionView]:
    """Create the views that are missing or changed, and mark partitions that are only cold.

    `tables`: the cold tables by name, after `publish_hints`, since the views find them by the hints. The partitions of
    a table are compared if a view of it is created, and always with `check`, for use after a hot partition was dropped
    by hand.

    Raises:
        OffloadError: ClickHouse or the warehouse failed.
    """
    known = {row["name"]: row["comment"] for row in hot.rows(render("union_views.sql"), {})}
    shown = [cold for cold in TABLES if cold.has_union_view]
    columns = _columns(hot, [cold.hot for cold in shown if cold.layer != "gold"])
    views = []
    for cold in shown:
        table = tables[cold.name]
        wanted = _definitions(cold, table, columns[cold.hot])
        outdated = {view for view, (_, comment) in wanted.items() if known.get(view) != comment}
        marked = _mark_missing(hot, cold, table) if outdated or check else ()
        for view, (statement, comment) in wanted.items():
            if view in outdated:
                hot.command(f"{statement}\nCOMMENT '{comment}'", {})
            views.append(UnionView(view=view, created=view in outdated, marked=marked))
    return views


def mark_cold(hot: HotStore, tables: Sequence[ColdTable], period: str, until_us: int) -> None:
    """Let the views read a day or month of `tables` from Iceberg, except rows that arrived after `until_us` (µs).

    Returns when the queries that began before have ended, or after `PLANNING_SECONDS`.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    for cold in tables:
        hot.command(
            render("insert_left_partition.sql"), {"table": cold.name, "partition": period, "until_us": until_us}
        )
    before = {"before_us": server_now_us(hot)}

    def have_ended() -> bool:
        return not int(hot.rows(render("queries_under_way.sql"), before)[0]["under_way"])

    poll(have_ended, PLANNING_SECONDS, _POLL_SECONDS)


def left_periods(hot: HotStore, cold: ColdTable) -> set[str]:
    """The days (`20261128`) or months (`202611`) that the views read from Iceberg.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    return {str(row["partition_id"]) for row in hot.rows(render("left_partitions.sql"), {"table": cold.name})}


def period_at(cold: ColdTable, moment_us: int) -> str:
    """The day or month of a time (µs, UTC), in the form of `left_periods`."""
    return f"{instant(moment_us):{_ID[cold.period]}}"


def _columns(hot: HotStore, names: Sequence[str]) -> Mapping[str, Columns]:
    columns: defaultdict[str, Columns] = defaultdict(dict)
    for row in hot.rows(render("column_types.sql"), {"tables": list(names)}):
        columns[row["table"]][row["name"]] = row["type"], row["comment"]
    return columns


def _definitions(cold: ColdTable, table: Table, columns: Columns) -> dict[str, tuple[str, str]]:
    """For each view its statement, and a comment that identifies this definition."""
    if cold.layer == "gold":
        statements = {f"{view}_all": _candles(table, cold, view) for view in (cold.hot, cold.name)}
    else:
        statements = {f"{cold.hot}_all": _rows(cold, table, columns)}
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


def _rows(cold: ColdTable, table: Table, columns: Columns) -> str:
    """The view of Raw, Silver or snapshots, whose cold rows equal the hot rows.

    An Enum is shown as text, since other engines would show a number or bytes.
    """
    enums = {name for name, (kind, _) in columns.items() if kind.startswith("Enum")}
    types = {name: "String" if name in enums else kind for name, (kind, _) in columns.items()}
    # Name in Iceberg -> name in the hot table.
    names = {name: _HOT_NAMES.get(name, name) if cold.layer == "raw" else name for name, _, _ in cold.columns}
    casts = [f"CAST({_cold_column(cold, name)}, {quote_string(types[hot])}) AS {hot}" for name, hot in names.items()]
    return render(
        "view_rows_all.sql",
        view=f"{cold.hot}_all",
        source=iceberg_source(table),
        hot=cold.hot,
        columns=[(names[name], types[names[name]], columns[names[name]][1] or doc) for name, _, doc in cold.columns],
        names=[f"toString({name}) AS {name}" if name in enums else name for name in names.values()],
        casts=casts,
        event=cold.hot_event,
        period=cold.hot_period_sql,
        arrival=cold.arrival,
        cold=cold.name,
        key=cold.row_key,
        hot_key=[_as_in_iceberg(cold, name, names[name]) for name in cold.row_key],
    )


def _cold_column(cold: ColdTable, name: str) -> str:
    """SQL of a cold column. Iceberg reads NULL from files that are older than the column."""
    value = cold.later.get(name)
    return f"cold.{name}" if value is None else f"ifNull(cold.{name}, {value!r})"


def _as_in_iceberg(cold: ColdTable, name: str, hot_name: str) -> str:
    """SQL of a hot column with the type that the cold one has."""
    casts = {"string": f"toString({hot_name})", "long": f"toInt64({hot_name})"}
    return casts.get(str(cold.schema.find_type(name)), f"toDateTime64({hot_name}, 6, 'UTC')")


def _mark_missing(hot: HotStore, cold: ColdTable, table: Table) -> tuple[str, ...]:
    """Mark the cold partitions of which the hot tables lack rows: dropped by hand or by version 0.1, or lost.

    For series it marks only partitions that the gate dropped, since lost rows come back from their answers.
    """
    lacking = _lacking(hot, cold, table)
    if not lacking:
        return ()
    unmarked = sorted(lacking - left_periods(hot, cold))
    for partition in unmarked:
        mark_cold(hot, [cold], partition, 0)
    return tuple(unmarked)


def _lacking(hot: HotStore, cold: ColdTable, table: Table) -> set[str]:
    if cold.layer == "series":
        return set(read_left(table.properties))
    cold_measures = _cold_measures(cold, table)
    if not cold_measures:
        return set()
    sql = render("count_partitions.sql", table=cold.hot_table, bucket_seconds=cold.bucket_seconds)
    hot_measures = Counter({period_of(row["partition_id"]): int(row["measure"]) for row in hot.rows(sql, {})})
    return {partition for partition, measure in cold_measures.items() if hot_measures[partition] < measure}


def _cold_measures(cold: ColdTable, table: Table) -> Mapping[str, int]:
    """Rows in Iceberg by hot partition; for Gold the trades in the candles. Reads only metadata."""
    measures: Counter[str] = Counter()
    if cold.layer == "gold":
        for name, record in read_ledger(table.properties).items():
            measures[period_at(cold, parse_gold_id(cold, name).from_us)] += record.measure
        return measures
    for task in table.scan().plan_files():
        # A day transform counts days since the epoch.
        measures[period_at(cold, task.file.partition[0] * DAY_US)] += task.file.record_count
    return measures
