"""The REST catalog and the bucket over TLS with a login, as far as a server of this test's own can show it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests
from pyiceberg.io import load_file_io

from config.connections import iceberg_catalog
from config.settings import Settings
from offload.errors import WarehouseError
from offload.tables.catalog import open_catalog
from offload.tables.object_store import file_io
from tests.certificates import Authority
from tests.http_server import serving

OBJECT = b"bytes of an object"


class Seen:
    """The requests a server got: method, path, its `Authorization`, its body."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, str, str]] = []

    def logins(self, path: str) -> set[str]:
        return {login for _, asked, login, _ in self.requests if asked.startswith(path)}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def seen() -> Seen:
    return Seen()


def answer(path: str) -> tuple[str, bytes]:
    """A token, a catalog with one namespace, an object."""
    bodies: dict[str, Any] = {
        "/v1/config": {"defaults": {}, "overrides": {}},
        "/v1/namespaces": {"namespaces": [["cold"]]},
        "/token": {"access_token": "a-fetched-token", "token_type": "bearer", "expires_in": 3600},
    }
    body = bodies.get(path.partition("?")[0])
    return ("application/octet-stream", OBJECT) if body is None else ("application/json", json.dumps(body).encode())


@pytest.fixture
def address(authority: Authority, seen: Seen) -> Iterator[str]:
    """Of an HTTPS server."""

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            login = self.headers.get("Authorization", "")
            seen.requests.append((self.command, self.path, login, self.rfile.read(length).decode()))
            kind, body = answer(self.path)
            partial = self.headers.get("Range", "").removeprefix("bytes=").partition("-")
            first, last = (int(partial[0]), int(partial[2])) if partial[1] else (0, len(body) - 1)
            part = body[first : last + 1]
            self.send_response(206 if partial[1] else 200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(part)))
            if partial[1]:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(body)}")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(part)

        do_GET = do_POST = do_HEAD = _reply  # noqa: N815 - the names that the library calls

    with serving(Handler, authority.server_context()) as port:
        yield f"https://localhost:{port}"


@pytest.fixture
def settings(address: str, authority: Authority, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings of a catalog and a bucket at the server, which the authority vouches for."""
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)

    def make(**given: Any) -> Settings:
        known = {
            "iceberg_catalog_uri": address,
            "iceberg_warehouse": "medallion",
            "iceberg_ca_file": authority.certificate,
            "s3_endpoint": address,
            "s3_region": "local",
            "s3_access_key_id": "the-key",
            "s3_secret_access_key": "hush",
            "s3_ca_file": authority.certificate,
        }
        return Settings(**{**known, **given})

    return make


def test_the_catalog_is_asked_with_the_token(settings: Callable[..., Settings], seen: Seen) -> None:
    assert open_catalog(settings(iceberg_catalog_token="a-token")).list_namespaces() == [("cold",)]
    assert seen.logins("/v1") == {"Bearer a-token"}


def test_a_credential_gets_a_token_from_the_login_server(
    settings: Callable[..., Settings], seen: Seen, address: str
) -> None:
    given = settings(
        iceberg_catalog_credential="an-id:a-secret",
        iceberg_oauth2_uri=f"{address}/token",
        iceberg_catalog_scope="lakekeeper",
    )
    assert open_catalog(given).list_namespaces() == [("cold",)]
    body = next(body for _, path, _, body in seen.requests if path == "/token")
    assert "client_id=an-id" in body
    assert "scope=lakekeeper" in body
    assert seen.logins("/v1/namespaces") == {"Bearer a-fetched-token"}


def test_an_unknown_authority_is_refused(settings: Callable[..., Settings], seen: Seen, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    stranger = Authority(folder).certificate
    with pytest.raises((WarehouseError, requests.exceptions.SSLError)):
        open_catalog(settings(iceberg_ca_file=stranger)).list_namespaces()
    assert not seen.requests


def test_an_object_is_read_with_the_key(settings: Callable[..., Settings], seen: Seen) -> None:
    given = settings()
    files = load_file_io({**iceberg_catalog(given), **file_io(given)})
    with files.new_input("s3://bucket/an/object").open() as file:
        assert file.read() == OBJECT
    assert all("Credential=the-key/" in login for login in seen.logins("/bucket"))
    assert "hush" not in str(seen.requests)


def test_a_bucket_of_an_unknown_authority_is_refused(
    settings: Callable[..., Settings], seen: Seen, tmp_path: Path
) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    given = settings(s3_ca_file=Authority(folder).certificate)
    files = load_file_io({**iceberg_catalog(given), **file_io(given)})
    with pytest.raises(OSError, match=r"(?i)ssl|certificate|curlCode"):
        files.new_input("s3://bucket/an/object").open()
    assert not seen.requests
