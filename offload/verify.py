"""Hot equals cold: rows and checksums of every offloaded slice, computed by one function of one engine on both sides.

The hot side is the very SELECT the export ran; the cold side reads the files that the table's current snapshot names,
with the types of the hot side. ClickHouse's own Iceberg reader is not used: it takes the newest metadata file in the
folder, even an uncommitted one.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from pydantic import BaseModel, ConfigDict
from pyiceberg.table import Table

from config.settings import Settings
from offload.catalog import ensure_tables, open_catalog
from offload.compare import MODULUS, Sums, cold_sources, merge_key, sorting_key, sums_of
from offload.export import select_of
from offload.hot import ClickHouseHttp, HotStore, Parameters
from offload.ledger import read_ledger
from offload.slices import Slice, micros, parse_gold_id, parse_hour_id
from offload.tables import LAYERS, TABLES, ColdTable, Layer
from offload.templates import render


class Difference(BaseModel):
    """Where hot and cold differ: equal counts mean that a value does."""

    model_config = ConfigDict(frozen=True)

    table: str
    slice: str
    exchange: str
    symbol: str
    hot_rows: int
    cold_rows: int


class TableVerification(BaseModel):
    """One cold table against its hot one; `superseded` rows have merged into another window and are not lost."""

    model_config = ConfigDict(frozen=True)

    table: str
    slices: int
    open_slices: int
    hot_rows: int
    cold_rows: int
    superseded: int
    differences: tuple[Difference, ...]


class VerifyReport(BaseModel):
    """All tables; `ok` if there is no difference anywhere."""

    model_config = ConfigDict(frozen=True)

    tables: tuple[TableVerification, ...]

    @property
    def ok(self) -> bool:
        """Whether every slice that was looked at is the same in both tiers."""
        return not any(table.differences for table in self.tables)


def verify(
    settings: Settings,
    *,
    start: datetime | None = None,
    end: datetime | None = None,
    include_open: bool = False,
    layers: Collection[Layer] = LAYERS,
    hot: HotStore | None = None,
) -> VerifyReport:
    """Compare every offloaded slice that overlaps [start, end) (aware times; default: all) in both tiers.

    Slices that were open when they were offloaded are skipped unless `include_open`: rows still arrive in them.

    Raises:
        HotStoreError: ClickHouse failed, or cannot read the warehouse.
        WarehouseError: the warehouse is of a kind ClickHouse cannot be pointed to.
        ValueError: a time without a zone.
    """
    store: HotStore = hot or ClickHouseHttp(settings)
    tables = ensure_tables(open_catalog(settings), settings.iceberg_namespace)
    from_us = micros(start) if start else 0
    to_us = micros(end) if end else MODULUS
    return VerifyReport(
        tables=tuple(
            _verify_table(store, tables[cold.name], cold, from_us, to_us, include_open=include_open)
            for cold in TABLES
            if cold.layer in layers
        )
    )


def _verify_table(
    hot: HotStore, table: Table, cold: ColdTable, from_us: int, to_us: int, *, include_open: bool
) -> TableVerification:
    parse = parse_gold_id if cold.layer == "gold" else lambda _, name: parse_hour_id(name)
    found = [(parse(cold, name), record) for name, record in read_ledger(table.properties).items()]
    wanted = [(part, record) for part, record in found if part.from_us < to_us and part.to_us > from_us]
    checked = sorted((part, record.until_us) for part, record in wanted if record.final or include_open)
    differences: list[Difference] = []
    hot_rows = cold_rows = superseded = 0
    for part, until_us in checked:
        hot_sums, cold_sums, moved = _compare(hot, table, cold, part, until_us)
        hot_rows += sum(rows for rows, _ in hot_sums.values())
        cold_rows += sum(rows for rows, _ in cold_sums.values())
        superseded += sum(rows for rows, _ in moved.values())
        for group in sorted(hot_sums.keys() | cold_sums.keys()):
            here, there, gone = (sums.get(group, (0, 0)) for sums in (hot_sums, cold_sums, moved))
            if here != (there[0] - gone[0], (there[1] - gone[1]) % MODULUS):
                exchange, symbol = group
                differences.append(
                    Difference(
                        table=cold.name,
                        slice=part.id,
                        exchange=exchange,
                        symbol=symbol,
                        hot_rows=here[0],
                        cold_rows=there[0],
                    )
                )
    return TableVerification(
        table=cold.name,
        slices=len(checked),
        open_slices=sum(not record.final for _, record in wanted),
        hot_rows=hot_rows,
        cold_rows=cold_rows,
        superseded=superseded,
        differences=tuple(differences),
    )


def _compare(hot: HotStore, table: Table, cold: ColdTable, part: Slice, until_us: int) -> tuple[Sums, Sums, Sums]:
    span: dict[str, str | int] = {"from_us": part.from_us, "to_us": part.to_us, "until_us": until_us, "key": part.key}
    select = select_of(cold, partition=cold.layer == "gold")
    hot_sums = sums_of(hot, cold, select, span)
    files = _cold_source(hot, table, cold, part, select, span)
    cold_sums = sums_of(hot, cold, files, span) if files else {}
    moved: Sums = {}
    if cold.merges and files and cold_sums != hot_sums:
        moved = sums_of(hot, cold, _superseded(hot, cold, files), span)
    return hot_sums, cold_sums, moved


def _cold_source(hot: HotStore, table: Table, cold: ColdTable, part: Slice, select: str, span: Parameters) -> str:
    """SQL that reads the slice's live files, or nothing if there are none."""
    paths = [task.file.file_path for task in table.scan(row_filter=part.predicate(cold)).plan_files()]
    source = "\nUNION ALL\n".join(cold_sources(hot, table, paths, select, span))
    # A compacted file holds other hours, too.
    return render("cold_hour.sql", source=source, arrival=cold.arrival) if source and cold.arrival else source


def _superseded(hot: HotStore, cold: ColdTable, files: str) -> str:
    names = {"hot": cold.hot, "arrival": cold.arrival, "source": files}
    return render("superseded.sql", **names, sorting_key=sorting_key(hot, cold), cold_key=merge_key(hot, cold))
