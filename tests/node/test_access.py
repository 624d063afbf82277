"""Who is let in: passwords, the delay after wrong ones, and pages of other sites."""

from __future__ import annotations

import stat
import threading
import time
from pathlib import Path

import pytest
from clickhouse_driver.errors import ServerException

from deploy.embedded.clickhouse.access import LONGEST_DELAY_S, Access, Failures
from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.http.origin import refused
from deploy.embedded.clickhouse.sql.policy import Role
from tests.node.conftest import PASSWORD, PASSWORDS, NodeProcess, command, free_port, start


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


# By the clock. How long a delay is, and for whom, is above.
@pytest.mark.nightly
def test_guessing_is_slow_and_others_are_not_held_up(own_node: NodeProcess) -> None:
    """200 wrong passwords took 0.16 s."""
    known = own_node.native()
    known.execute("SELECT 1")
    guesses = 0
    over = threading.Event()

    def guess() -> None:
        nonlocal guesses
        while not over.is_set():
            with pytest.raises(ServerException):
                own_node.native(password=f"guess {guesses}").execute("SELECT 1")
            guesses += 1

    threads = [threading.Thread(target=guess) for _ in range(4)]
    started = time.monotonic()
    for thread in threads:
        thread.start()
    longest = 0.0
    while time.monotonic() - started < 8:
        asked = time.monotonic()
        assert known.execute("SELECT 1") == [(1,)]
        longest = max(longest, time.monotonic() - asked)
        time.sleep(0.05)  # the pace of the other client, not a wait for anything
    asked = time.monotonic()
    assert own_node.native().execute("SELECT 1") == [(1,)]
    login = time.monotonic() - asked
    over.set()
    for thread in threads:
        thread.join(30)
    assert guesses < 60, "four guessers in eight seconds"
    assert longest < 2, "a client that is logged in waits for nobody"
    assert login < LONGEST_DELAY_S + 2, "a right password waits no longer than the bound"


def test_a_connection_that_was_let_in_is_not_delayed(own_node: NodeProcess) -> None:
    wrong = ["-u", "default:wrong"]
    for _ in range(6):
        assert b"516" in own_node.curl(*wrong, f"{own_node.url}?query=SELECT%201").stdout
    # Requests on one connection: the first logs in and waits. Would each wait, then so would the fastest of the others.
    others = ("--next", "-sS", "-u", f"default:{PASSWORD}", "-w", " %{time_starttransfer} %{num_connects}\n")
    _, first, *later = own_node.curl(
        *("-w", " %{time_starttransfer}\n", f"{own_node.url}?query=SELECT%201"),
        *([*others, f"{own_node.url}?query=SELECT%202"] * 10),
    ).stdout.split()
    assert later[::3] == [b"2"] * 10
    assert later[2::3] == [b"0"] * 10, "the connection was used again"
    assert float(first) > 0.1 > min(map(float, later[1::3]))


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


def test_a_path_with_blanks_has_the_same_walls(tmp_path: Path) -> None:
    node = start(tmp_path / "a folder & more")
    with pytest.raises(ServerException):
        node.native().execute("SELECT * FROM url('http://127.0.0.1:1/', 'CSV', 'a String')")
    assert node.stop() == 0
