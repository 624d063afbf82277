"""A client on the host, against a catalog that answers as Lakekeeper does with compose's environment.

Lakekeeper (0.13, crates/lakekeeper): `GET /catalog/v1/config` has the override `uri`, its own address as BASE_URI or
the request's Host says; a table's config has the storage profile's endpoint, which is the containers' name of it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest
from pydantic import SecretStr
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.schema import Schema
from pyiceberg.types import LongType, NestedField

from config.settings import Settings
from offload.clickhouse.locations import server_path
from offload.tables.catalog import open_catalog
from tests.http_server import serving

INSIDE = "http://object-store:9000"
OBJECT = b"what the bucket holds"
METADATA = {
    "format-version": 2,
    "table-uuid": "9c12d441-03fe-4693-9a96-a0705ddf69c1",
    "location": "s3://medallion/cold/trades",
    "last-sequence-number": 0,
    "last-updated-ms": 1_700_000_000_000,
    "last-column-id": 1,
    "current-schema-id": 0,
    "schemas": [json.loads(Schema(NestedField(1, "id", LongType())).model_dump_json())],
    "default-spec-id": 0,
    "partition-specs": [{"spec-id": 0, "fields": []}],
    "last-partition-id": 999,
    "default-sort-order-id": 0,
    "sort-orders": [{"order-id": 0, "fields": []}],
}


def answer(path: str, host: str, told: dict[str, str]) -> bytes:
    """The catalog's answers; every other path is an object of the bucket."""
    base = told.get("LAKEKEEPER__BASE_URI", f"http://{host}")
    bodies: dict[str, Any] = {
        "/catalog/v1/config": {"defaults": {"prefix": "w"}, "overrides": {"uri": f"{base}/catalog"}},
        "/catalog/v1/w/namespaces/cold/tables/trades": {
            "metadata-location": "s3://medallion/cold/trades/metadata/1.json",
            "metadata": METADATA,
            "config": {"s3.endpoint": INSIDE, "s3.region": "local", "s3.path-style-access": "true"},
        },
    }
    body = bodies.get(path.partition("?")[0])
    return OBJECT if body is None else json.dumps(body).encode()


@pytest.fixture
def address(services: dict[str, Any]) -> Iterator[str]:
    """Of catalog and bucket, as docker-compose.host-access.yml publishes them."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            body = answer(self.path, self.headers["Host"], services["catalog"]["environment"])
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = _reply  # noqa: N815 - the names that the library calls

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}"


def test_it_reaches_catalog_and_bucket_and_clickhouse_its_own(address: str) -> None:
    settings = Settings(
        iceberg_catalog_uri=f"{address}/catalog",
        iceberg_warehouse="medallion",
        s3_endpoint=address,
        s3_region="local",
        s3_access_key_id="key",
        s3_secret_access_key=SecretStr("secret"),
    )
    catalog = open_catalog(settings)
    assert isinstance(catalog, RestCatalog)
    assert catalog.uri == f"{address}/catalog", "the catalog sent us to a name that only containers know"
    table = catalog.load_table("cold.trades")
    with table.io.new_input("s3://medallion/cold/trades/data/1.parquet").open() as file:
        assert file.read() == OBJECT
    assert server_path(table, "s3://medallion/cold/trades/") == f"{INSIDE}/medallion/cold/trades/"
