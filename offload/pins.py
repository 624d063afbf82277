"""Pins: names of consistent versions of all cold tables. A pinned version never expires and stays the same.

A pin is an Iceberg tag, named as the pin, on every table that had a snapshot, and a record of the snapshot ids. The
record is a property of `raw_trades` and is written last: without it the pin does not exist. Another property is written
first. It tells the tags of a creation that died from those of another tool.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict
from pyiceberg.exceptions import CommitFailedException, NoSuchTableError
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH, SnapshotRefType
from pyiceberg.types import DecimalType, IcebergType

from config.process.retry import retry_on_conflict
from config.settings import Settings
from ddl.quoting import quote_name
from offload.clickhouse.checksums import earlier_values, file_arguments
from offload.clickhouse.client import HotStore
from offload.clickhouse.locations import file_function
from offload.clickhouse.templates import render
from offload.errors import OffloadError
from offload.tables.catalog import ColdTier
from offload.tables.cold_tables import BY_NAME, GOLD, TABLES, ColdTable
from offload.tables.slice_records import read_ledger, read_silver_windows

PREFIX = "medallion.pin."
_BEGUN = "medallion.pin-begun."
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
# The cold table whose properties have the records of the pins.
_RECORDS_TABLE = "raw_trades"
# In a comparison, the name of the present version of the cold tables.
NOW = "now"


class PinError(OffloadError):
    """The pin cannot be created or does not exist; the message says why and what to do."""


class PinnedTable(BaseModel):
    """One table of a pin. A table that was empty has no snapshot. `rows`: of the snapshot."""

    model_config = ConfigDict(frozen=True)

    table: str
    snapshot_id: int | None
    committed_at: datetime | None
    rows: int


class Pin(BaseModel):
    """A named version of all cold tables; `created_at` in UTC."""

    model_config = ConfigDict(frozen=True)

    name: str
    created_at: datetime
    tables: tuple[PinnedTable, ...]


class Pins:
    """The pins of one catalog.

    Raises (every method):
        OffloadError: the catalog fails.
    """

    def __init__(self, tier: ColdTier) -> None:
        self._tier = tier

    @classmethod
    def look(cls, settings: Settings) -> Pins:
        """The pins for a command that makes none: no folder, catalog or cold table is made."""
        return cls(ColdTier.look(settings))

    def create(self, name: str, at: datetime | None = None) -> Pin:
        """Pin the present version, or that of a moment `at` (an aware time) between two offload runs.

        Repeat an interrupted creation to finish it.

        Raises:
            PinError: the name is taken or invalid, Gold lacks trades that Silver has, `at` is in the future, or no
                snapshot is as old.
        """
        self._refuse_name(name)
        if at is not None and at > datetime.now(UTC):
            raise PinError(f"{at:%Y-%m-%dT%H:%M:%SZ} is in the future (UTC): a pin names a version that exists.")
        if name in self._records():
            raise PinError(f"The pin {name} exists: choose another name, or `medallion pin drop {name}` first.")
        tables = {cold.name: self._load(cold.name) for cold in TABLES}
        _refuse_taken(tables, name)
        if at is None:
            _refuse_incomplete_gold(tables)
        chosen = [_pinned(name, table, at) for name, table in tables.items()]
        if all(part.snapshot_id is None for part in chosen):
            raise PinError(
                "There is nothing to pin: no cold table has a snapshot of that time (`medallion offload run`)."
            )
        pin = Pin(name=name, created_at=datetime.now(UTC), tables=tuple(chosen))
        self._set_properties({_BEGUN + name: pin.created_at.isoformat()}, ())
        for part in chosen:
            if part.snapshot_id is not None:
                self._tag(part.table, name, part.snapshot_id)
        self._set_properties({PREFIX + name: pin.model_dump_json()}, (_BEGUN + name,))
        return pin

    def all(self) -> list[Pin]:
        """Every pin, oldest first."""
        return sorted(self._records().values(), key=lambda pin: pin.created_at)

    def get(self, name: str) -> Pin:
        """One pin.

        Raises:
            PinError: there is none of that name.
        """
        records = self._records()
        if name not in records:
            raise PinError(f"There is no pin {name}: `medallion pin list` shows all pins.")
        return records[name]

    def drop(self, name: str) -> None:
        """Drop a pin, finished or not; its snapshots may then expire.

        A branch of that name stays, and so does a tag that belongs to no pin.

        Raises:
            PinError: there is none of that name.
        """
        known = self._properties()
        if PREFIX + name not in known and _BEGUN + name not in known:
            raise PinError(f"There is no pin {name}: `medallion pin list` shows all pins.")
        for cold in TABLES:
            self._untag(cold.name, name)
        # The record is removed last, so that an interrupted drop can be repeated.
        self._set_properties({}, (PREFIX + name, _BEGUN + name))

    def publish(self, name: str, hot: HotStore) -> str:
        """Create a ClickHouse database `pin_<name>` of views on exactly the pin's files; returns the database's name.

        Raises:
            PinError: there is no such pin.
        """
        pin, database = self.get(name), f"pin_{name}"
        hot.command(render("pin_database.sql", database=database), {})
        for part in pin.tables:
            if part.snapshot_id is None:
                continue
            table, cold = self._load(part.table), BY_NAME[part.table]
            types = ", ".join(
                f"{quote_name(name)} {_clickhouse(kind, name in cold.optional or _is_unknown(cold, name))}"
                for name, kind, _ in cold.columns
            )
            paths = [task.file.file_path for task in table.scan(snapshot_id=part.snapshot_id).plan_files()]
            hot.command(
                render(
                    "pin_view.sql",
                    database=database,
                    table=part.table,
                    function=file_function(table),
                    sources=file_arguments(table, paths, types),
                    earlier_values=earlier_values(table, [name for name, _, _ in cold.columns]),
                ),
                {},
            )
        return database

    def _refuse_name(self, name: str) -> None:
        if not _NAME.fullmatch(name):
            raise PinError(f"{name!r} is no pin name: use at most 63 lower-case letters, digits and _, a letter first.")
        if name == MAIN_BRANCH:
            raise PinError(f"{name} is the branch that every cold table is read by: choose another name.")
        if name == NOW:
            raise PinError(f"{name} stands for the present version in `medallion pin diff`: choose another name.")
        if f"pin_{name}" == self._tier.settings.clickhouse_database:
            raise PinError(f"pin_{name} is the database of the hot tables: choose another name.")

    def _load(self, name: str) -> Table:
        return self._tier.load(BY_NAME[name])

    def _properties(self) -> Mapping[str, str]:
        """The properties of the table with the records; none if it does not exist yet: then there is no pin."""
        try:
            return self._load(_RECORDS_TABLE).properties
        except NoSuchTableError:
            return {}

    def _records(self) -> dict[str, Pin]:
        return {
            key.removeprefix(PREFIX): Pin.model_validate_json(value)
            for key, value in self._properties().items()
            if key.startswith(PREFIX)
        }

    @retry_on_conflict(CommitFailedException)
    def _tag(self, table_name: str, name: str, snapshot_id: int) -> None:
        table = self._load(table_name)
        known = _tagged(table, name)
        if known == snapshot_id:
            return
        if known is not None:
            self._untag(table_name, name)
            table = self._load(table_name)
        table.manage_snapshots().create_tag(snapshot_id, name).commit()

    @retry_on_conflict(CommitFailedException)
    def _untag(self, table_name: str, name: str) -> None:
        table = self._load(table_name)
        # The main branch is never removed, even if a damaged table has it as a tag.
        if name != MAIN_BRANCH and _tagged(table, name) is not None:
            table.manage_snapshots().remove_tag(name).commit()

    @retry_on_conflict(CommitFailedException)
    def _set_properties(self, records: Mapping[str, str], outdated: tuple[str, ...]) -> None:
        with self._load(_RECORDS_TABLE).transaction() as transaction:
            if records:
                transaction.set_properties(dict(records))
            known = [key for key in outdated if key in transaction.table_metadata.properties]
            if known:
                transaction.remove_properties(*known)


def _tagged(table: Table, name: str) -> int | None:
    ref = table.metadata.refs.get(name)
    return ref.snapshot_id if ref and ref.snapshot_ref_type == SnapshotRefType.TAG else None


def _pinned(name: str, table: Table, at: datetime | None) -> PinnedTable:
    snapshot = table.current_snapshot()
    if at is not None:
        moment = int(at.timestamp() * 1000)
        earlier = [entry for entry in table.history() if entry.timestamp_ms <= moment]
        snapshot = table.snapshot_by_id(earlier[-1].snapshot_id) if earlier else None
        if earlier and snapshot is None:
            raise PinError(f"{name}'s snapshot of {at} has expired: pin a later moment.")
    if snapshot is None:
        return PinnedTable(table=name, snapshot_id=None, committed_at=None, rows=0)
    return PinnedTable(
        table=name,
        snapshot_id=snapshot.snapshot_id,
        committed_at=datetime.fromtimestamp(snapshot.timestamp_ms / 1000, UTC),
        rows=int(snapshot.summary["total-records"] or 0) if snapshot.summary else 0,
    )


def _refuse_taken(tables: Mapping[str, Table], name: str) -> None:
    """Refuse a name that another tool uses for a branch or tag."""
    if _BEGUN + name in tables[_RECORDS_TABLE].properties:
        return
    for table in tables.values():
        ref = table.metadata.refs.get(name)
        if ref is not None:
            whose = ".".join(table.name()[-2:])
            raise PinError(
                f"{whose} has a {ref.snapshot_ref_type} named {name} that belongs to no pin: choose another name, or "
                "remove it with the tool that made it."
            )


def _refuse_incomplete_gold(tables: Mapping[str, Table]) -> None:
    """Refuse to pin if candles and Silver do not have the same trades."""
    silver = {name: record.measure for name, record in read_ledger(tables["silver_trades"].properties).items()}
    for cold in GOLD:
        followed = read_silver_windows(tables[cold.name].properties)
        uneven = sorted(name for name in silver.keys() | followed.keys() if silver.get(name) != followed.get(name))
        if uneven:
            raise PinError(
                f"{cold.name} and silver_trades differ in the hour {uneven[0]}: an offload is under way, or was "
                "interrupted. Pin when `medallion offload run` has finished."
            )


_CLICKHOUSE = {
    "string": "String",
    "binary": "String",
    "long": "Int64",
    "boolean": "Bool",
    "double": "Float64",
    "timestamptz": "DateTime64(6, 'UTC')",
}


def _is_unknown(cold: ColdTable, name: str) -> bool:
    """Whether a file that is older than the column gives no value for it."""
    return name in cold.later and cold.later[name] is None


def _clickhouse(kind: IcebergType, optional: bool) -> str:
    name = f"Decimal({kind.precision}, {kind.scale})" if isinstance(kind, DecimalType) else _CLICKHOUSE[str(kind)]
    return f"Nullable({name})" if optional else name
