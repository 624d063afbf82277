"""Row counts and order-independent checksums of hot SELECTs and of cold files, both computed by ClickHouse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pyiceberg.table import Table

from ddl.quoting import UNREADABLE, quote_name, quote_string, unreadable
from offload.clickhouse.client import HotStore, Parameters
from offload.clickhouse.locations import file_function, server_path
from offload.clickhouse.templates import render
from offload.errors import WarehouseError
from offload.tables.cold_tables import BY_NAME, ColdTable

MODULUS = 1 << 64
# A server expands a list of file names to at most 1,000, and reads at most 256 KiB of SQL.
FILES_A_QUERY = 500

Group = tuple[str, str]
# (exchange, symbol) -> rows, checksum modulo 2^64
Checksums = dict[Group, tuple[int, int]]


def checksums_of(
    hot: HotStore, cold: ColdTable, source: str, span: Parameters, merge_key: str = "", *, exact: bool = False
) -> Checksums:
    """Row counts and checksums of `source` by (exchange, symbol); "" if `cold` lacks the column.

    `source`: SQL with the columns of `cold`. `span`: its parameters. With `merge_key` only the latest of the rows with
    one key counts. With `exact` unsettled columns count too.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    sql = render(
        "checksum.sql",
        source=source,
        columns=[name for name, _, _ in cold.columns],
        optional=cold.optional,
        unsettled=cold.unsettled,
        unsettled_if="" if exact else cold.unsettled_if,
        arrival=cold.arrival,
        merge_key=merge_key,
    )
    return {
        (row["key_exchange"], row["key_symbol"]): (int(row["row_count"]), int(row["checksum"]))
        for row in hot.rows(sql, span)
    }


def add_checksums(into: Checksums, more: Checksums) -> None:
    """Add the checksums of other rows."""
    for group, (rows, checksum) in more.items():
        known = into.get(group, (0, 0))
        into[group] = known[0] + rows, (known[1] + checksum) % MODULUS


def cold_sources(hot: HotStore, table: Table, paths: Sequence[str], select: str, span: Parameters) -> list[str]:
    """SQL that reads files of `table` with the types of the hot `select`; one query for each `FILES_A_QUERY` files.

    Raises:
        WarehouseError: ClickHouse cannot read this kind of warehouse.
    """
    if not paths:
        return []
    column_types = hot.column_types(select, span)
    types = ", ".join(f"{quote_name(name)} {kind}" for name, kind in column_types.items())
    function = file_function(table)
    return [
        render(
            "cold_files.sql", function=function, arguments=arguments, earlier_values=earlier_values(table, column_types)
        )
        for arguments in file_arguments(table, paths, types)
    ]


def earlier_values(table: Table, names: Iterable[str]) -> dict[str, str]:
    """The value (SQL) in files without the column, for those of `names` where it is not the type's default."""
    later = BY_NAME[table.name()[-1]].later
    return {name: repr(later[name]) for name in names if later.get(name)}


def file_arguments(table: Table, paths: Sequence[str], types: str) -> list[str]:
    """Arguments of ClickHouse's `file` or `s3` that read data files of `table`, `FILES_A_QUERY` at a time.

    Raises:
        WarehouseError: ClickHouse cannot read this kind of warehouse.
    """
    root = f"{table.location()}/data/"
    base = server_path(table, root)
    if any(unreadable(path.removeprefix(root)) for path in paths):
        marks = " ".join(map(repr, UNREADABLE))
        raise WarehouseError(f"ClickHouse cannot read a file below {root} whose name has one of {marks}")
    arguments = []
    for names in _pieces(sorted(path.removeprefix(root) for path in paths)):
        pattern = names[0] if len(names) == 1 else "{" + ",".join(names) + "}"
        arguments.append(f"{quote_string(base + pattern)}, 'Parquet', {quote_string(types)}")
    return arguments


def merge_key(hot: HotStore, cold: ColdTable) -> str:
    """The hot table's sorting key, by which rows merge, as SQL over hot or cold rows.

    The key contains published_at, which has ms in the hot table and µs in the cold one. The SQL
    converts both alike.
    """
    key = str(hot.rows(render("sorting_key.sql"), {"hot": cold.hot})[0]["sorting_key"])
    return key.replace("published_at", render("kafka_time.sql", column="published_at"))


def _pieces(names: Sequence[str]) -> list[Sequence[str]]:
    return [names[start : start + FILES_A_QUERY] for start in range(0, len(names), FILES_A_QUERY)]
