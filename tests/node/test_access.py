"""Who is let in: passwords, the delay after wrong ones, and pages of other sites."""

from __future__ import annotations

import asyncio
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import aiohttp
import pytest
from clickhouse_driver import Client
from clickhouse_driver.connection import Connection
from clickhouse_driver.errors import ServerException

from deploy.embedded.clickhouse.access import LONGEST_DELAY_S, Access, Failures
from deploy.embedded.clickhouse.engine.engine import Engine
from deploy.embedded.clickhouse.errors import AUTHENTICATION_FAILED, UNKNOWN_DATABASE, EngineError, refusal
from deploy.embedded.clickhouse.http import handler as http_handler
from deploy.embedded.clickhouse.http.origin import refused
from deploy.embedded.clickhouse.http.server import HttpServer
from deploy.embedded.clickhouse.native import connection as native_connection
from deploy.embedded.clickhouse.native.server import NativeServer
from deploy.embedded.clickhouse.session import Session
from deploy.embedded.clickhouse.sql.policy import Role
from tests.node.conftest import ANALYST_PASSWORD, PASSWORD, PASSWORDS, NodeProcess, command, free_port, start

# So long a test waits for what must come. Nothing depends on how long it takes.
WITHIN_S = 60


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_delay_grows_is_bounded_and_passes() -> None:
    clock = Clock()
    failures = Failures(clock)
    delays = []
    for _ in range(50):
        delays.append(failures.delay("a"))
        failures.add("a")
    assert delays[:3] == [0, 0, 0]
    assert delays == sorted(delays)
    assert delays[5] > delays[4] > 0
    assert delays[-1] == LONGEST_DELAY_S
    assert failures.delay("b") == 0, "other addresses do not wait"
    clock.now += 30
    assert failures.delay("a") == 0


def test_the_addresses_that_are_remembered_are_bounded() -> None:
    failures = Failures(Clock())
    for number in range(5000):
        failures.add(str(number))
    assert len(failures._peers) <= 1024


def test_accounts() -> None:
    access = Access("secret", "other")
    assert access.check("default", "secret", "") is Role.OPERATOR
    assert access.check("analyst", "other", "") is Role.ANALYST
    for user, password in (
        ("default", "other"),
        ("analyst", "secret"),
        ("", ""),
        ("analyst", ""),
        ("default", "\udcff"),
    ):
        with pytest.raises(EngineError):
            access.check(user, password, "")
    with pytest.raises(EngineError):
        Access("secret").check("analyst", "", "")
    assert "secret" not in repr(access)


LET_IN, REFUSED = UNKNOWN_DATABASE, AUTHENTICATION_FAILED
DELAYS = [0, 0, 0, 0.05, 0.1, 0.2]


class Waits:
    """The pauses that a server makes, in seconds, in order with `wrong`: a wrong password was found. Nobody waits.

    With `hold`, a pause that is longer than 0 lasts until `release`; `held` is set when one began.
    """

    def __init__(self) -> None:
        self.events: list[float | str] = []
        self.held, self._released = threading.Event(), threading.Event()
        self._released.set()
        self.access = Access(PASSWORD, ANALYST_PASSWORD, Counted(self.events))

    def hold(self) -> None:
        self._released.clear()

    def release(self) -> None:
        self._released.set()

    def sleep(self, seconds: float) -> None:
        self.events.append(seconds)
        if seconds:
            self.held.set()
            assert self._released.wait(WITHIN_S)

    async def sleep_in_loop(self, seconds: float) -> None:
        self.events.append(seconds)
        if seconds:
            self.held.set()
            assert await asyncio.to_thread(self._released.wait, WITHIN_S)


class Counted(Failures):
    """Failures at a standing clock, which are noted."""

    def __init__(self, events: list[float | str]) -> None:
        super().__init__(Clock())
        self._events = events

    def add(self, peer: str) -> None:
        self._events.append("wrong")
        super().add(peer)


@contextmanager
def native_server(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> Iterator[NativeServer]:
    """The native port without an engine: who is let in can ping."""
    monkeypatch.setattr(native_connection, "time", SimpleNamespace(sleep=waits.sleep))
    engine = SimpleNamespace(version=lambda: "26.9.1.1", setting_names=frozenset)
    session = SimpleNamespace(close=lambda: None)
    server = NativeServer(cast(Engine, engine), waits.access, lambda *_: cast(Session, session), "127.0.0.1", 0)
    server.start()
    yield server
    server.stop(0)


@asynccontextmanager
async def http_server(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The HTTP port without an engine: who is let in finds no database."""

    def open_session(database: str, role: Role) -> Session:
        raise refusal(UNKNOWN_DATABASE, "UNKNOWN_DATABASE", database)

    # `asyncio` as it is, but for the pause.
    loop = SimpleNamespace(**{**vars(asyncio), "sleep": waits.sleep_in_loop})
    monkeypatch.setattr(http_handler, "asyncio", loop)
    server, port = HttpServer(waits.access, open_session, None, str), free_port()
    await server.start("127.0.0.1", port, 0)
    yield f"http://127.0.0.1:{port}/"
    await server.stop()


async def ask(client: aiohttp.ClientSession, url: str, password: str, user: str = "default") -> int:
    """The code of the refusal."""
    login = {"Authorization": aiohttp.encode_basic_auth(user, password)}
    async with client.get(url, params={"query": "SELECT 1"}, headers=login) as answer:
        return int(answer.headers["X-ClickHouse-Exception-Code"])


def log_in(server: NativeServer, password: str) -> Connection:
    connection: Connection = Client("127.0.0.1", server.port, password=password).connection
    connection.force_connect()
    return connection


def test_a_login_over_http_waits_before_its_password_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else guessing were fast. A connection that was let in waits no more, unless the account is another one."""
    waits = Waits()

    async def scenario() -> None:
        async with http_server(waits, monkeypatch) as url:
            for _ in DELAYS:
                async with aiohttp.ClientSession() as guesser:
                    assert await ask(guesser, url, "wrong") == REFUSED
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as known:
                assert [await ask(known, url, PASSWORD) for _ in range(4)] == [LET_IN] * 4
                assert await ask(known, url, ANALYST_PASSWORD, "analyst") == LET_IN

    asyncio.run(asyncio.wait_for(scenario(), WITHIN_S))
    guesses = [event for delay in DELAYS for event in (delay, "wrong")]
    assert waits.events == [*guesses, 0.4, 0.4]


def test_a_login_over_the_native_port_waits_before_its_password_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Waits()
    with native_server(waits, monkeypatch) as server:
        for _ in DELAYS:
            with pytest.raises(ServerException) as found:
                log_in(server, "wrong")
            assert found.value.code == REFUSED
        known = log_in(server, PASSWORD)
        assert known.ping()
        known.disconnect()
    assert waits.events == [*(event for delay in DELAYS for event in (delay, "wrong")), 0.4]


def test_a_guesser_over_http_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of a connection that was let in are answered while a guesser waits."""
    waits = Waits()

    async def scenario() -> None:
        async with http_server(waits, monkeypatch) as url, aiohttp.ClientSession() as known:
            assert await ask(known, url, PASSWORD) == LET_IN
            fail(waits.access)
            waits.hold()
            async with aiohttp.ClientSession() as guesser:
                guess = asyncio.create_task(ask(guesser, url, "wrong"))
                assert await asyncio.to_thread(waits.held.wait, WITHIN_S)
                assert await ask(known, url, PASSWORD) == LET_IN
                assert not guess.done()
                waits.release()
                assert await guess == REFUSED

    asyncio.run(asyncio.wait_for(scenario(), WITHIN_S))


def test_a_guesser_at_the_native_port_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was let in is answered while a guesser waits."""
    waits = Waits()
    with native_server(waits, monkeypatch) as server, ThreadPoolExecutor(1) as guesser, ExitStack() as at_end:
        known = log_in(server, PASSWORD)
        at_end.callback(known.disconnect)
        at_end.callback(waits.release)
        fail(waits.access)
        waits.hold()
        guess = guesser.submit(log_in, server, "wrong")
        assert waits.held.wait(WITHIN_S)
        assert known.ping()
        assert not guess.done()
        waits.release()
        with pytest.raises(ServerException):
            guess.result(WITHIN_S)


def fail(access: Access) -> None:
    """As many failures as make the next login wait."""
    for _ in DELAYS:
        access.failures.add("127.0.0.1")


@pytest.mark.parametrize(
    "headers",
    [
        ["Host: evil.example"],
        ["Host: evil.example:8123"],
        ["Host: 127.0.0.1.evil.example"],
        ["Host: localhost.evil.example"],
        ["Host: localhost@evil.example"],
        ["Host: ]["],
        ["Origin: http://evil.example"],
        ["Origin: null"],
        ["Origin: http://127.0.0.1:1"],
        ["Sec-Fetch-Site: cross-site"],
        ["Sec-Fetch-Site: same-site"],
    ],
)
def test_what_a_page_of_another_site_sends_is_refused(node: NodeProcess, headers: list[str]) -> None:
    more = [word for header in headers for word in ("-H", header)]
    sql = "CREATE DATABASE from_a_page"
    answer = node.curl(*more, "-i", "-H", "Content-Type: text/plain", "--data-binary", sql, node.url)
    assert b" 403 " in answer.stdout.splitlines()[0]
    assert b"Refused" in answer.stdout
    assert node.native().execute("SELECT count() FROM system.databases WHERE name = 'from_a_page'") == [(0,)]


def test_our_own_names_are_served(node: NodeProcess) -> None:
    for host in ("localhost", "127.0.0.1", "[::1]", "192.168.1.7", "LOCALHOST"):
        answer = node.curl("-H", f"Host: {host}:{node.http_port}", "--data-binary", "SELECT 1", node.url)
        assert answer.stdout == b"1\n", host
        assert refused(f"{host}:1", f"http://{host}:1", frozenset({"localhost"})) == ""


def test_without_a_password_no_node_starts(tmp_path: Path) -> None:
    import os
    import subprocess

    for environment in ({}, {"NODE_PASSWORD": "", "NODE_ANALYST_PASSWORD": "x"}):
        variables = {**{k: v for k, v in os.environ.items() if k not in PASSWORDS}, **environment}
        words = command(tmp_path, free_port(), free_port())
        done = subprocess.run(words, env=variables, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1
        assert "put the password in it" in done.stderr


def test_the_store_is_for_its_owner_only(own_node: NodeProcess) -> None:
    own_node.native().execute("CREATE DATABASE d")
    own_node.native().execute("CREATE TABLE d.t (a UInt8) ENGINE = MergeTree ORDER BY a")
    own_node.native().execute("INSERT INTO d.t VALUES (1)")
    for path in own_node.path.rglob("*"):
        if not path.is_symlink():
            assert stat.S_IMODE(path.lstat().st_mode) & 0o077 == 0, path


def test_a_store_with_a_table_that_cannot_run_opens_again(tmp_path: Path) -> None:
    """The metadata is what `CREATE TABLE … ENGINE = \\x4bafka` left in the store before it was refused."""
    node = start(tmp_path)
    client = node.native()
    client.execute("CREATE DATABASE d")
    client.execute("CREATE TABLE d.t (a UInt8) ENGINE = MergeTree ORDER BY a")
    client.execute("INSERT INTO d.t VALUES (1)")
    assert node.stop() == 0
    (metadata,) = (tmp_path / "engine").glob("store/*/*/t.sql")
    broken = metadata.with_name("k.sql")
    broken.write_text(
        "ATTACH TABLE _ UUID 'd1d1d1d1-0000-4000-8000-000000000001'\n(\n    `a` String\n)\n"
        "ENGINE = Kafka('b:1', 't', 'g', 'RawBLOB')\n"
    )
    again = start(tmp_path)
    assert again.native().execute("SELECT a FROM d.t") == [(1,)]
    assert again.native().execute("SHOW TABLES FROM d") == [("t",)]
    assert again.stop() == 0
    assert not broken.exists()
    (moved,) = (tmp_path / "engine" / "quarantine").iterdir()
    assert "Kafka" in moved.read_text()
