"""A failed `medallion query` says what is wrong and who can do what about it."""

from __future__ import annotations

import urllib.request
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.common.context import ServerError
from cli.common.server_errors import CREDENTIALS, LIMITS, OF_THE_SERVER, RIGHTS
from cli.common.statements import http_client
from cli.main import app
from config.errors import MedallionError
from config.settings import Settings
from deploy.embedded.ports import free_ports
from tests.http_server import serving
from tests.node.conftest import ANALYST_PASSWORD, PASSWORD, NodeProcess

CORRECT = "Correct the statement."
LESS = "Ask for less"


def failure(node: NodeProcess, monkeypatch: pytest.MonkeyPatch, sql: str, *more: str, **changes: object) -> str:
    """The message of a query that must fail."""
    chosen = {"host": "127.0.0.1", "http_port": node.http_port, "password": PASSWORD, "database": "default"} | changes
    for name, value in chosen.items():
        monkeypatch.setenv(f"MEDALLION_CLICKHOUSE_{name.upper()}", str(value))
    done = CliRunner().invoke(app, ["query", sql, *more])
    assert isinstance(done.exception, MedallionError), done.output
    return str(done.exception)


@pytest.mark.parametrize(
    ("sql", "wrong", "remedy"),
    [
        ("SELEC 1", "Syntax error at 'SELEC'", CORRECT),
        ("SELECT foo", "identifier `foo`", CORRECT),
        ("SELECT 1 FORMAT Foo", "Unknown format Foo (", CORRECT),
        # The status and the first rows are sent before this fails.
        ("SELECT throwIf(number = 3000000) FROM numbers(4000000)", "'throwIf' function is non-zero (FUNC", CORRECT),
        ("SELECT 1 FROM numbers(9) SETTINGS max_rows_to_read = 5", "exceeded, max rows: 5.00", LESS),
        ("SELECT sleep(0.1) SETTINGS max_execution_time = 0.05", "Timeout exceeded", LESS),
    ],
)
def test_a_wrong_statement_is_the_callers(
    node: NodeProcess, monkeypatch: pytest.MonkeyPatch, sql: str, wrong: str, remedy: str
) -> None:
    said = failure(node, monkeypatch, sql)
    first, *rest = said.splitlines()
    assert wrong in first
    assert "Code:" not in first
    assert any(line.startswith(remedy) for line in rest)
    assert "medallion status" not in said
    assert ("The result is incomplete." in rest) == ("throwIf" in sql)


@pytest.mark.parametrize(
    ("sql", "account", "remedy"),
    [
        ("SELECT 1", {"password": "wrong"}, "Set MEDALLION_CLICKHOUSE_USER and MEDALLION_CLICKHOUSE_PASSWORD"),
        ("DROP TABLE x", {"user": "analyst", "password": ANALYST_PASSWORD}, "ask the operator for the right"),
        ("SELECT 1", {"database": "nowhere"}, "`medallion ddl apply` makes this database"),
        ("SELECT * FROM nowhere.x", {"database": "nowhere"}, CORRECT),
    ],
)
def test_a_wrong_account_or_setting_is_named(
    node: NodeProcess, monkeypatch: pytest.MonkeyPatch, sql: str, account: dict[str, str], remedy: str
) -> None:
    assert remedy in failure(node, monkeypatch, sql, **account)


def test_a_server_that_is_away_or_another_one_is_told_from_a_refusal(
    node: NodeProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    (nobody,) = free_ports(1)
    away = failure(node, monkeypatch, "SELECT 1", http_port=nobody)
    assert f"No ClickHouse answers at 127.0.0.1:{nobody}" in away
    assert "Connection refused" in away
    assert "HTTPConnectionPool" not in away
    other = failure(node, monkeypatch, "SELECT 1", http_port=node.native_port)
    assert "This is no answer of ClickHouse: correct MEDALLION_CLICKHOUSE_HOST" in other


@pytest.mark.parametrize("command", [("dlq", "stats"), ("dlq", "list"), ("ddl", "status")])
def test_other_commands_name_a_wrong_password_too(
    node: NodeProcess, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HOST", "127.0.0.1")
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HTTP_PORT", str(node.http_port))
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_PORT", str(node.native_port))
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_PASSWORD", "wrong")
    said = str(CliRunner().invoke(app, [*command]).exception)
    assert "Set MEDALLION_CLICKHOUSE_USER and MEDALLION_CLICKHOUSE_PASSWORD" in said
    assert "does not answer" not in said


def at(port: int) -> Settings:
    account = {"clickhouse_password": PASSWORD, "clickhouse_database": "default"}
    return Settings(clickhouse_host="127.0.0.1", clickhouse_http_port=port, **account)


def test_an_error_beside_the_client_is_not_the_servers(node: NodeProcess) -> None:
    with pytest.raises(FileNotFoundError), http_client(at(node.http_port)):
        Path("/no/such/file").read_bytes()
    with pytest.raises(BrokenPipeError), http_client(at(node.http_port)):
        raise BrokenPipeError


def test_a_server_that_leaves_is_named(node: NodeProcess) -> None:
    class Leaving(BaseHTTPRequestHandler):
        """The node, until it is asked for 42: of this answer it sends a part."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if b"42" in body:
                self.send_response(200)
                self.send_header("Content-Length", "3")
                self.end_headers()
                self.wfile.write(b"4")
                return
            asked = urllib.request.Request(f"http://127.0.0.1:{node.http_port}{self.path}", body, dict(self.headers))
            with urllib.request.urlopen(asked) as answer:
                self.send_response(answer.status)
                for name in ("X-ClickHouse-Format", "Content-Type"):
                    self.send_header(name, answer.headers[name])
                self.end_headers()
                self.wfile.write(answer.read())

    answering = pytest.raises(ServerError, match=r"does not answer.*IncompleteRead")
    with serving(Leaving) as port, answering, http_client(at(port)) as client:
        client.raw_query("SELECT 42")


def test_the_engine_has_every_code_under_the_same_name(node: NodeProcess) -> None:
    ours = CREDENTIALS | RIGHTS | LIMITS | OF_THE_SERVER
    client = node.native()
    names = client.execute("SELECT arrayJoin(%(codes)s) AS code, errorCodeToName(code)", {"codes": [*ours]})
    client.disconnect()
    assert dict(names) == ours
