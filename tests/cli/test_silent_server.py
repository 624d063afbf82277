"""Invariant: `medallion query` gives up a server that sends nothing, and waits as long as one says that it goes on."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from cli.common import context
from cli.common.context import clickhouse
from cli.common.statements import http_client
from cli.main import app
from cli.messages.replay_window import ReplayWindowError, replay_window
from config import clickhouse_ping
from config.errors import MedallionError
from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp
from series.store import SeriesStore
from tests import command
from tests.http_server import serving
from tests.stack.conftest import clean_environment

# More than the 100 headers that the standard library takes.
HEADERS = 150
PAGE = b"<html>Log in, please</html>"
REFUSAL = b"Code: 241. DB::Exception: Memory limit exceeded: would use 10 GiB. (MEMORY_LIMIT_EXCEEDED)"


class ClickHouse(BaseHTTPRequestHandler):
    """Answers `/ping`, `SELECT 1` after more progress than the time without a sign, and of `SELECT 2` the first row.

    It dies while it runs `SELECT 3`. It refuses `SELECT 4` and `SELECT 5`, the first without the end of its message,
    the second without any of it. To `SELECT 6` it answers as the page of a proxy does.
    """

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        asked = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
        sql = self.rfile.read(int(self.headers["Content-Length"])).decode()
        if "max_execution_time" in asked:
            # Not of `medallion query`.
            sql = "SELECT 6"
        else:
            assert (asked["send_progress_in_http_headers"], asked["http_headers_progress_interval_ms"]) == ("1", "250")
        if sql == "SELECT 3":
            self.send_response(200)
            self.send_header("X-ClickHouse-Progress", '{"read_rows":"1"}')
            self.flush_headers()
            self.close_connection = True
        if sql in {"SELECT 1", "SELECT 2"}:
            self.send_response(200)
            self.send_header("X-ClickHouse-Query-Id", "1")
            self.send_header("Transfer-Encoding", "chunked")
            for rows in range(HEADERS if sql == "SELECT 1" else 0):
                self.send_header("X-ClickHouse-Progress", f'{{"read_rows":"{rows}"}}')
                if rows % 50 == 0:
                    self.flush_headers()
                    threading.Event().wait(0.4)
            self.end_headers()
            self.wfile.write(b"2\r\n1\n\r\n")
        if sql == "SELECT 1":
            self.wfile.write(b"0\r\n\r\n")
        if sql == "SELECT 6":
            self.send_response(200)
            self.send_header("Content-Length", str(len(PAGE)))
            self.end_headers()
            self.wfile.write(PAGE)
        if sql in {"SELECT 4", "SELECT 5"}:
            self.send_response(500)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(REFUSAL if sql == "SELECT 4" else b"")
        # Otherwise the server thread waits here for another request, until the client leaves.


def ask(monkeypatch: pytest.MonkeyPatch, port: int, sql: str) -> Any:
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HOST", "127.0.0.1")
    monkeypatch.setenv("MEDALLION_CLICKHOUSE_HTTP_PORT", str(port))
    return CliRunner().invoke(app, ["query", sql, "--timeout", "1"])


def test_a_server_that_answers_nothing_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every kind of client: HTTP of query, of commands, of the cold tier and of series, and the native protocol."""
    monkeypatch.setattr(clickhouse_ping, "PING_S", 0.3)
    monkeypatch.setattr(context, "PING_S", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        done = ask(monkeypatch, port, "SELECT 1")
        settings = Settings(clickhouse_port=port)
        said = [str(done.exception)]
        opened: list[Callable[[], Any]] = [
            lambda: ClickHouseHttp(settings),
            lambda: SeriesStore(settings),
            http_client(settings).__enter__,
            clickhouse(settings).__enter__,
        ]
        for client in opened:
            with pytest.raises(MedallionError) as refused:
                client()
            said.append(str(refused.value))
    assert ["takes connections and does not answer within 0.3 s" in one for one in said] == [True] * 4 + [False]
    assert said[-1].startswith(f"ClickHouse at 127.0.0.1:{port} does not answer: ")


@pytest.mark.parametrize(("sql", "rows"), [("SELECT sleep(3)", ""), ("SELECT 2", "1\n")])
def test_a_statement_without_a_sign_is_given_up(monkeypatch: pytest.MonkeyPatch, sql: str, rows: str) -> None:
    with serving(ClickHouse) as port:
        done = ask(monkeypatch, port, sql)
    said = str(done.exception)
    assert "has sent neither rows nor progress for 1 s" in said
    assert "a larger --timeout" in said
    assert ("The result is incomplete." in said) == bool(rows)
    assert done.stdout == rows


def test_progress_is_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(ClickHouse) as port:
        done = ask(monkeypatch, port, "SELECT 1")
    assert (done.exit_code, done.stdout) == (0, "1\n"), done.exception


def test_a_connection_that_ends_after_progress_is_no_empty_result(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(ClickHouse) as port:
        done = ask(monkeypatch, port, "SELECT 3")
    assert "broke off. The result is incomplete." in str(done.exception)


@pytest.mark.parametrize(
    ("sql", "words"),
    [("SELECT 4", "Memory limit exceeded: would use 10 GiB"), ("SELECT 5", "HTTP status 500, without a message.")],
)
def test_a_refusal_whose_message_stops_is_shown_as_far_as_it_came(
    monkeypatch: pytest.MonkeyPatch, sql: str, words: str
) -> None:
    with serving(ClickHouse) as port:
        done = ask(monkeypatch, port, sql)
    assert isinstance(done.exception, MedallionError)
    assert str(done.exception).startswith((words, f"Code: 241. DB::Exception: {words}"))
    assert "The rest of this answer did not come." in str(done.exception)


def test_a_page_of_a_proxy_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(ClickHouse) as port:
        done = ask(monkeypatch, port, "SELECT 6")
        monkeypatch.setenv("MEDALLION_CLICKHOUSE_HTTP_PORT", str(port))
        with pytest.raises(ReplayWindowError, match="ClickHouse does not answer, or refuses"):
            replay_window(Settings(), "kraken", "2026-01-01", "2026-01-02")
    assert (done.exit_code, done.stdout) == (1, "")
    assert str(done.exception).startswith(f"{PAGE.decode()}\nThis is no answer of ClickHouse: correct MEDALLION_")


@pytest.mark.parametrize("arguments", [("ddl", "status"), ("dlq", "list")])
def test_a_server_that_is_away_is_one_line(arguments: tuple[str, ...], tmp_path: Path) -> None:
    """Both client libraries log it, with a traceback."""
    ports = {f"MEDALLION_CLICKHOUSE_{name}": "1" for name in ("PORT", "HTTP_PORT")}
    environment = {**clean_environment(tmp_path), "MEDALLION_CLICKHOUSE_HOST": "127.0.0.1", **ports}
    done = command.run([*arguments], environment, 60)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ClickHouse at 127.0.0.1:1 does not answer")
    assert len(done.stderr.splitlines()) == 1
