"""The job that prepares the cold tier, against a catalog that answers as Lakekeeper's management API does."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from deploy.compose import lakehouse
from deploy.compose.lakehouse import LakehouseError, ObjectStore, ensure_warehouse, management_address
from tests.http_server import serving

STORE = ObjectStore(
    endpoint="http://object-store:9000",
    region="local",
    bucket="medallion",
    access_key="key",  # type: ignore[arg-type]
    secret_key="s3cret-for-the-test",  # type: ignore[arg-type]
)


class Catalog:
    """Bootstrapped or not, with its warehouses; `refuses` answers every POST with 400."""

    def __init__(self, refuses: bool = False) -> None:
        self.bootstrapped = False
        self.warehouses: list[dict[str, Any]] = []
        self.posts: list[str] = []
        self.refuses = refuses

    def answer(self, method: str, path: str, body: dict[str, Any] | None) -> tuple[int, Any]:
        name = path.removeprefix("/management/v1/")
        if method == "GET":
            return 200, {"info": {"bootstrapped": self.bootstrapped}, "warehouse": {"warehouses": self.warehouses}}[
                name
            ]
        self.posts.append(name)
        if self.refuses:
            return 400, {"error": {"message": "bucket not found"}}
        assert body is not None
        if name == "bootstrap":
            assert not self.bootstrapped, "a second bootstrap is an error in Lakekeeper"
            assert body == {"accept-terms-of-use": True}
            self.bootstrapped = True
            return 204, None
        assert self.bootstrapped, "Lakekeeper takes no warehouse before its bootstrap"
        self.warehouses.append({"name": body["warehouse-name"], **body})
        return 201, {"warehouse-id": "1"}


def serve(catalog: Catalog) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def _reply(self, method: str) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            code, answer = catalog.answer(method, self.path, body)
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def do_GET(self) -> None:
            self._reply("GET")

        def do_POST(self) -> None:
            self._reply("POST")

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}/management/v1"


@pytest.fixture
def catalog() -> Catalog:
    return Catalog()


@pytest.fixture
def address(catalog: Catalog) -> Iterator[str]:
    yield from serve(catalog)


def test_a_fresh_catalog_is_bootstrapped_and_gets_the_warehouse(catalog: Catalog, address: str) -> None:
    ensure_warehouse(address, "medallion", STORE)
    assert catalog.posts == ["bootstrap", "warehouse"]
    (warehouse,) = catalog.warehouses
    assert warehouse["name"] == "medallion"
    profile = warehouse["storage-profile"]
    assert (profile["bucket"], profile["endpoint"], profile["path-style-access"]) == ("medallion", STORE.endpoint, True)
    assert warehouse["storage-credential"]["aws-secret-access-key"] == "s3cret-for-the-test"
    # Anybody who reaches the catalog would be given what opens the bucket.
    assert not profile["sts-enabled"]
    assert not profile["remote-signing-enabled"]


def test_a_second_run_changes_nothing(catalog: Catalog, address: str) -> None:
    ensure_warehouse(address, "medallion", STORE)
    catalog.posts.clear()
    ensure_warehouse(address, "medallion", STORE)
    assert catalog.posts == []


def test_another_warehouse_joins_those_that_are_there(catalog: Catalog, address: str) -> None:
    ensure_warehouse(address, "medallion", STORE)
    ensure_warehouse(address, "staging", STORE)
    assert [warehouse["name"] for warehouse in catalog.warehouses] == ["medallion", "staging"]


def test_a_refusal_carries_the_catalogs_reason() -> None:
    for address in serve(Catalog(refuses=True)):
        with pytest.raises(LakehouseError, match=r"400.*bucket not found"):
            ensure_warehouse(address, "medallion", STORE)


@pytest.mark.parametrize("uri", ["http://catalog:8181/catalog", "http://catalog:8181/catalog/"])
def test_the_management_api_is_beside_the_catalog(uri: str) -> None:
    assert management_address(uri) == "http://catalog:8181/management/v1"


@pytest.mark.parametrize("uri", ["sqlite:///x.db", "http://catalog:8181", "http://catalog:8181/catalog/v1", ""])
def test_another_address_is_refused(uri: str) -> None:
    with pytest.raises(LakehouseError, match="http://catalog:8181/catalog"):
        management_address(uri)


def test_bad_keys_are_named_and_not_shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"ENDPOINT": "http://x:9000", "REGION": "r", "BUCKET": "bucket", "ACCESS_KEY": "abc"}.items():
        monkeypatch.setenv(f"OBJECT_STORE_{name}", value)
    monkeypatch.setenv("OBJECT_STORE_SECRET_KEY", "hushhh")
    assert lakehouse.main() == 1
    written = capsys.readouterr().err
    assert "secret_key" in written
    assert "hushhh" not in written
