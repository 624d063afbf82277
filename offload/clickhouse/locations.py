"""How ClickHouse reads the warehouse: a folder by `file` and `icebergLocal`, a bucket by `s3` and `icebergS3`."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlparse

from pyiceberg.table import Table

from ddl.quoting import UNREADABLE, quote_string, unreadable
from offload.errors import WarehouseError

Scheme = Literal["file", "s3"]
_ICEBERG: dict[Scheme, str] = {"file": "icebergLocal", "s3": "icebergS3"}


def server_path(table: Table, path: str) -> str:
    """A path or URL under the table's location as ClickHouse takes it.

    The S3 endpoint is that of the catalog (`s3.endpoint`), else that of our settings. The server has its own
    credentials.

    Raises:
        WarehouseError: ClickHouse cannot read this kind of warehouse.
    """
    location = urlparse(path)
    if _scheme(table) == "file":
        return location.path
    endpoint = str(table.io.properties.get("s3.endpoint", "")).rstrip("/")
    return f"{endpoint}/{location.netloc}{location.path}" if endpoint else f"s3://{location.netloc}{location.path}"


def file_function(table: Table) -> str:
    """The table function that reads data files.

    Raises:
        WarehouseError: as `server_path`.
    """
    return _scheme(table)


def iceberg_source(table: Table) -> str:
    """The table function, with arguments, that reads the table by its version hint (`offload.files.version_hint`).

    Raises:
        WarehouseError: as `server_path`.
    """
    path = server_path(table, f"{table.location()}/")
    return f"{_ICEBERG[_scheme(table)]}({quote_string(path)}, SETTINGS iceberg_use_version_hint = 1)"


def _scheme(table: Table) -> Scheme:
    location = table.location()
    scheme = urlparse(location).scheme
    if unreadable(location) or scheme not in _ICEBERG:
        raise WarehouseError(
            f"ClickHouse cannot read {location}: use a file:// or s3:// warehouse whose path has none of"
            f" {' '.join(map(repr, UNREADABLE))}"
        )
    return "file" if scheme == "file" else "s3"
