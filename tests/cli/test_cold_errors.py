"""Invariant: a catalog or a bucket that fails under a command is one sentence with a remedy, and never a hang."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pyarrow as pa
import pytest
import requests
import sqlalchemy as sa
from pydantic import BaseModel, ValidationError
from pyiceberg.exceptions import NoSuchTableError, ServerError, UnauthorizedError
from pyiceberg.table.metadata import TableMetadataUtil

import cli.main
from config.settings import Settings
from offload.errors import WarehouseError
from offload.tables import catalog
from tests.http_server import serving

Server = Callable[[], AbstractContextManager[int]]


class Ours(BaseModel):
    """A model of our own."""

    name: str


def refused_by(read: Callable[[], object]) -> ValidationError:
    with pytest.raises(ValidationError) as refused:
        read()
    return refused.value


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (ServerError("RESTError 500: no memory Stack trace at a.b.C"), "catalog refuses, .*: RESTError 500: no memory"),
        (UnauthorizedError("no token"), "catalog refuses, .*: no token"),
        (NoSuchTableError("Table does not exist: cold.raw_trades"), "catalog refuses, .*: Table does not exist"),
        (sa.exc.OperationalError("SELECT secret", {}, Exception("no memory")), "catalog refuses, .*: no memory"),
        (refused_by(lambda: TableMetadataUtil.parse_obj({"format-version": 2})), "answers what no catalog does: Field"),
        (requests.ConnectionError("Connection refused"), "A server does not answer: Connection refused"),
        (OSError("When getting information for key 'a': NETWORK"), "A file or a bucket cannot be .*: When getting"),
        (OSError(5, "Input/output error"), "A file or a bucket cannot be .*: .*Input/output error"),
        (FileNotFoundError(2, "No such file or directory", "/b/a.parquet"), "/b/a.parquet: No such file"),
        (pa.ArrowInvalid("Parquet magic bytes not found"), "A file of the warehouse cannot be read: Parquet magic"),
    ],
)  # fmt: skip
def test_a_failure_of_a_store_is_one_sentence(
    failure: Exception, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app() -> None:
        raise failure

    monkeypatch.setattr(cli.main, "app", app)
    with pytest.raises(SystemExit) as ended:
        cli.main.main()
    said = capsys.readouterr().err
    assert ended.value.code == 1
    (line,) = said.splitlines()
    assert re.search(words, line), line
    assert line.startswith("error: ")
    assert line.endswith("`medallion doctor` checks disks, catalog and bucket; then run the same command again.")
    assert "secret" not in line
    assert "Stack trace" not in line


@pytest.mark.parametrize("failure", [KeyError("ours"), refused_by(lambda: Ours.model_validate_json("<html>"))])
def test_a_fault_of_ours_keeps_its_traceback(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def app() -> None:
        raise failure

    monkeypatch.setattr(cli.main, "app", app)
    with pytest.raises(type(failure)):
        cli.main.main()


@contextmanager
def silent() -> Iterator[int]:
    """Takes a request and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def answering(status: int, body: bytes) -> Server:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return lambda: serving(Handler)


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        (silent, "Read timed out"),
        (answering(200, b"<html>log in</html>"), "answers what no catalog does"),
        (answering(401, b'{"error": {"message": "no token", "type": "NotAuthorized", "code": 401}}'), "no token"),
        (answering(502, b"<html>bad gateway</html>"), "502"),
    ],
)
def test_a_rest_catalog_that_is_none_cannot_be_opened(
    server: Server, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "_PATIENCE_S", (0.3, 0.3))
    with server() as port:
        settings = Settings(
            iceberg_catalog_uri=f"http://127.0.0.1:{port}", iceberg_warehouse=f"file://{tmp_path / 'warehouse'}"
        )
        with pytest.raises(WarehouseError, match=f"Cannot open the Iceberg catalog .*{reason}"):
            catalog.ColdTier.look(settings)
