"""Opens the Iceberg catalog, to write in it (missing cold tables are made) or only to look (nothing is made)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlparse

import requests
from pydantic import ValidationError
from pyiceberg.catalog import Catalog
from pyiceberg.catalog.noop import NoopCatalog
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    NoSuchTableError,
    RESTError,
    TableAlreadyExistsError,
    ValidationException,
)
from pyiceberg.io import load_file_io
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata, new_table_metadata
from pyiceberg.typedef import Identifier
from pyiceberg.utils.config import Config
from requests.adapters import HTTPAdapter
from sqlalchemy import bindparam, inspect, make_url, select
from sqlalchemy.exc import ArgumentError, DatabaseError, IntegrityError, OperationalError

from config.connections import iceberg_catalog
from config.process.retry import retry_on_conflict
from config.settings import Settings
from ddl.quoting import unreadable
from offload.errors import WarehouseError
from offload.tables.branches import branch_damage
from offload.tables.cold_table import Column
from offload.tables.cold_tables import TABLES, ColdTable
from offload.tables.object_store import file_io

CATALOG_NAME = "medallion"
# Seconds to wait for a connection to a REST catalog, and for its answer. A commit to a large table takes seconds.
_PATIENCE_S = (10.0, 120.0)
# Of an address with a login.
_PASSWORD = re.compile(r"(?<=:)[^:/@]+(?=@)")
_CURRENT_FILE = select(IcebergTables.metadata_location).where(
    IcebergTables.catalog_name == bindparam("catalog"),
    IcebergTables.table_namespace == bindparam("namespace"),
    IcebergTables.table_name == bindparam("name"),
)


class _SqlCatalog(SqlCatalog):
    """An SQL catalog that reads each metadata file once.

    Each load asks the database for the table's current metadata file. A metadata file never changes: every commit
    writes a new one.
    """

    def load_table(self, identifier: str | Identifier) -> Table:
        namespace, name = Catalog.namespace_from(identifier), Catalog.table_name_from(identifier)
        row = {"catalog": self.name, "namespace": Catalog.namespace_to_string(namespace), "name": name}
        with self.engine.connect() as connection:
            location = connection.execute(_CURRENT_FILE, row).scalar_one_or_none()
        if location is None:
            raise NoSuchTableError(f"Table does not exist: {'.'.join(namespace)}.{name}")
        metadata = _read_metadata(location, frozenset(self.properties.items()))
        io = load_file_io({**self.properties, **metadata.properties}, location)
        return Table((*namespace, name), metadata, location, io, self)


class _NotMade(NoopCatalog):
    """In place of an SQL catalog that does not exist yet: it has no tables."""

    def load_table(self, identifier: str | Identifier) -> Table:
        raise NoSuchTableError(f"The catalog does not exist yet, and so there is no {identifier}")

    def list_tables(self, namespace: str | Identifier) -> list[Identifier]:
        raise NoSuchNamespaceError(f"The catalog does not exist yet, and so there is no {namespace}")


@lru_cache(maxsize=2 * len(TABLES))
def _read_metadata(location: str, properties: frozenset[tuple[str, str]]) -> TableMetadata:
    return FromInputFile.table_metadata(load_file_io(dict(properties), location).new_input(location))


class _RestCatalog(RestCatalog):
    """A REST catalog that gives up a server which takes a request and never answers. pyiceberg waits for ever."""

    def _create_session(self) -> requests.Session:
        session = super()._create_session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, _Impatient())
        return session


class _Impatient(HTTPAdapter):
    def send(
        self, request: requests.PreparedRequest, stream: bool = False, timeout: Any = None, *others: Any, **options: Any
    ) -> requests.Response:
        return super().send(request, stream, timeout or _PATIENCE_S, *others, **options)


@retry_on_conflict(OperationalError, IntegrityError)
def _sql_catalog(properties: dict[str, str]) -> SqlCatalog:
    """Open an SQL catalog. If two processes create its own tables at once, one of them fails and tries again."""
    return _SqlCatalog(CATALOG_NAME, **properties)


def open_catalog(settings: Settings, *, create: bool = True) -> Catalog:
    """The catalog of `settings`: a REST catalog for an `http(s)://` address, else an SQL catalog (SQLite, PostgreSQL).

    pyiceberg's own configuration (`PYICEBERG_CATALOG__MEDALLION__…`) may add other properties. `create`: create missing
    folders, and the missing tables of an SQL catalog itself.

    Raises:
        WarehouseError: the catalog cannot be opened, or ClickHouse could not read the warehouse's address.
    """
    uri, warehouse = settings.iceberg_catalog_uri, settings.iceberg_warehouse
    properties = {**iceberg_catalog(settings), **file_io(settings)}
    with _explained(settings):
        if urlparse(uri).scheme in {"http", "https"}:
            return _RestCatalog(CATALOG_NAME, **{**_configured(), **properties})
        _check_readable(warehouse)
        if create:
            _make_folders(uri, warehouse)
        properties = {"pool_pre_ping": "true", **_configured(), **properties}
        if not create:
            properties["init_catalog_tables"] = "false"
        return _sql_catalog(properties)


@contextmanager
def _explained(settings: Settings) -> Iterator[None]:
    """Raises WarehouseError for whatever says that the catalog cannot be opened."""
    try:
        yield
    except (OSError, DatabaseError, ArgumentError, ImportError, RESTError, ValidationError) as error:
        # SQLAlchemy's text has the statement, too, and that of pydantic the answer.
        reason: object = error.orig if isinstance(error, DatabaseError) else error
        if isinstance(error, ValidationError):
            reason = f"it answers what no catalog does ({error.errors()[0]['msg']})"
        address = _PASSWORD.sub("***", settings.iceberg_catalog_uri)
        message = (
            f"Cannot open the Iceberg catalog {address} with warehouse {settings.iceberg_warehouse}: {reason}. Check "
            "MEDALLION_ICEBERG_CATALOG_URI and MEDALLION_ICEBERG_WAREHOUSE, and that the folders can be written."
        )
        raise WarehouseError(message) from error


def _check_readable(warehouse: str) -> None:
    if found := unreadable(warehouse):
        raise WarehouseError(
            f"The warehouse {warehouse} has {', '.join(map(repr, found))} in its address, which ClickHouse or a URL"
            " takes for something else: choose another one with MEDALLION_ICEBERG_WAREHOUSE."
        )


@dataclass(frozen=True)
class ColdTier:
    """The cold tables of one catalog."""

    settings: Settings
    catalog: Catalog

    @classmethod
    def open(cls, settings: Settings) -> ColdTier:
        """Open the catalog of `settings` and create the cold tables that are missing.

        Raises:
            WarehouseError: the catalog cannot be opened, or a table is not of this version (see `ensure_tables`).
        """
        tier = cls(settings, open_catalog(settings))
        ensure_tables(tier.catalog, settings.iceberg_namespace)
        return tier

    @classmethod
    def look(cls, settings: Settings) -> Self:
        """Open the catalog and create nothing. An SQL catalog that does not exist yet has no tables (see `missing`).

        Raises:
            WarehouseError: the catalog cannot be opened.
        """
        file = _sqlite_file(settings.iceberg_catalog_uri)
        if file is not None and not file.exists():
            return cls(settings, _NotMade(CATALOG_NAME))
        catalog = open_catalog(settings, create=False)
        with _explained(settings):
            is_new = isinstance(catalog, SqlCatalog) and not inspect(catalog.engine).has_table(
                IcebergTables.__tablename__
            )
        return cls(settings, _NotMade(CATALOG_NAME) if is_new else catalog)

    def missing(self) -> list[str]:
        """The names of the cold tables that the catalog lacks. Reads nothing of the warehouse."""
        try:
            existing = {name for *_, name in self.catalog.list_tables(self.settings.iceberg_namespace)}
        except NoSuchNamespaceError:
            existing = set()
        return [cold.name for cold in TABLES if cold.name not in existing]

    def name(self, cold: ColdTable) -> str:
        """The cold table's name in the catalog, with its namespace."""
        return f"{self.settings.iceberg_namespace}.{cold.name}"

    def load(self, cold: ColdTable) -> Table:
        """The cold table as it is now."""
        return self.catalog.load_table(self.name(cold))

    def load_all(self) -> dict[str, Table]:
        """All cold tables as they are now, by the name they have in `TABLES`."""
        return {cold.name: self.load(cold) for cold in TABLES}


@dataclass(frozen=True)
class ColdView(ColdTier):
    """The cold tables for commands that only read rows; open it with `look`.

    A missing table is an empty one, and a table of an earlier version has the later columns. Neither is written.
    """

    def load(self, cold: ColdTable) -> Table:
        """The cold table as it is now, in the shape of this version.

        Raises:
            WarehouseError: the table has other columns than this version writes, or has no current snapshot.
        """
        try:
            table = super().load(cold)
        except NoSuchTableError:
            return self._empty(cold)
        _check_branch(table)
        if _lacking(table, cold):
            with_later = _with_later_columns(table, cold).table_metadata
            table = Table(table.name(), with_later, table.metadata_location, table.io, table.catalog)
        _check_columns(table, cold)
        return table

    def _empty(self, cold: ColdTable) -> Table:
        location = f"{self.settings.iceberg_warehouse}/{self.settings.iceberg_namespace}/{cold.name}"
        metadata = new_table_metadata(cold.schema, cold.spec, cold.sort_order, location)
        io = load_file_io({**iceberg_catalog(self.settings), **file_io(self.settings)}, location)
        return Table((self.settings.iceberg_namespace, cold.name), metadata, "", io, self.catalog)


def _configured() -> dict[str, str]:
    """The properties that pyiceberg's own configuration has for the catalog."""
    configured: Any = Config().get_catalog_config(CATALOG_NAME) or {}
    return {str(key): str(value) for key, value in configured.items() if key not in {"uri", "warehouse", "type"}}


def _sqlite_file(uri: str) -> Path | None:
    database = make_url(uri).database if uri.startswith("sqlite:///") else None
    return Path(database) if database else None


def _make_folders(uri: str, warehouse: str) -> None:
    if file := _sqlite_file(uri):
        file.parent.mkdir(parents=True, exist_ok=True)
    location = urlparse(warehouse)
    if location.scheme == "file":
        Path(location.path).mkdir(parents=True, exist_ok=True)


def ensure_tables(catalog: Catalog, namespace: str, tables: tuple[ColdTable, ...] = TABLES) -> dict[str, Table]:
    """The cold tables by name; creates missing tables and adds later columns. Safe in several processes at once.

    Raises:
        WarehouseError: a table exists with other columns than this version writes, or has no current snapshot.
    """
    with suppress(NamespaceAlreadyExistsError):
        catalog.create_namespace(namespace)
    return {table.name: _ensure(catalog, namespace, table) for table in tables}


def _ensure(catalog: Catalog, namespace: str, cold: ColdTable) -> Table:
    identifier = f"{namespace}.{cold.name}"
    try:
        table = catalog.load_table(identifier)
    except NoSuchTableError:
        table = _create(catalog, identifier, cold)
    _check_branch(table)
    if _lacking(table, cold):
        table = _evolved(catalog, table, cold)
    _check_columns(table, cold)
    return table


def _check_branch(table: Table) -> None:
    if damage := branch_damage(table):
        raise WarehouseError(
            f"{'.'.join(table.name()[-2:])}: {damage}. Run `medallion pin repair`, which repairs the table without"
            " losing a row."
        )


def _check_columns(table: Table, cold: ColdTable) -> None:
    present = [(field.name, field.field_type) for field in table.schema().fields]
    wanted = [(name, kind) for name, kind, _ in cold.columns]
    if present != wanted:
        names = sorted({str(column) for column in set(present) ^ set(wanted)})
        name = ".".join(table.name()[-2:])
        message = f"{name} has other columns than this version writes ({', '.join(names)}): migrate it first."
        raise WarehouseError(message)


@retry_on_conflict(CommitFailedException, ValidationException)
def _evolved(catalog: Catalog, table: Table, cold: ColdTable) -> Table:
    """Add the columns of later versions, each in its place; returns the table."""
    _with_later_columns(catalog.load_table(table.name()), cold).commit_transaction()
    return catalog.load_table(table.name())


def _with_later_columns(table: Table, cold: ColdTable) -> Transaction:
    transaction = table.transaction()
    names = [name for name, _, _ in cold.columns]
    with transaction.update_schema() as update:
        for name, kind, doc in _lacking(table, cold):
            update.add_column(name, kind, doc)
            update.move_after(name, names[names.index(name) - 1])
    return transaction


def _lacking(table: Table, cold: ColdTable) -> list[Column]:
    """The columns of later versions that the table lacks."""
    known = {field.name for field in table.schema().fields}
    return [column for column in cold.columns if column[0] in cold.later and column[0] not in known]


def _create(catalog: Catalog, identifier: str, cold: ColdTable) -> Table:
    schema = cold.schema
    properties = {
        "comment": cold.doc,
        # ClickHouse writes files without field ids. Without this mapping they can be committed but not read.
        "schema.name-mapping.default": schema.name_mapping.model_dump_json(),
        "write.delete.isolation-level": "serializable",
        "commit.retry.num-retries": "20",
        "commit.retry.min-wait-ms": "20",
        "commit.retry.max-wait-ms": "1000",
        "write.metadata.delete-after-commit.enabled": "true",
        "write.metadata.previous-versions-max": "50",
        "write.metadata.metrics.default": "truncate(16)",
        **{
            f"write.metadata.metrics.column.{name}": "counts"
            for name in ("raw_json", "payload", "insert_token", "body", "rows")
            if name in {column[0] for column in cold.columns}
        },
    }
    try:
        return catalog.create_table(
            identifier, schema, partition_spec=cold.spec, sort_order=cold.sort_order, properties=properties
        )
    except TableAlreadyExistsError:
        return catalog.load_table(identifier)
