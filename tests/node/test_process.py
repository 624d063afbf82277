"""The node as a process: it keeps what it acknowledged, and says clearly why it does not start."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest
from clickhouse_driver.errors import Error

from tests.node.conftest import PASSWORDS, NodeProcess, command, eventually, free_port, start


def run_to_end(path: Path, native_port: int, http_port: int, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(path, native_port, http_port, *more),
        env={**os.environ, **PASSWORDS},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_sigkill_in_the_middle_of_inserts_loses_no_acknowledged_batch(own_node: NodeProcess) -> None:
    own_node.native().execute("CREATE DATABASE d")
    own_node.native().execute("CREATE TABLE d.t (batch UInt32, n UInt32) ENGINE = MergeTree ORDER BY batch")
    acknowledged: list[int] = []

    def insert() -> None:
        client = own_node.native()
        try:
            for batch in range(100_000):
                client.execute("INSERT INTO d.t VALUES", [(batch, n) for n in range(100)])
                acknowledged.append(batch)
        except (Error, EOFError, OSError):
            return

    writer = threading.Thread(target=insert)
    writer.start()
    eventually(lambda: len(acknowledged) >= 50, "fifty batches")
    own_node.stop(signal.SIGKILL)
    writer.join(20)
    again = start(own_node.path)
    counts = again.native().execute("SELECT batch, count() FROM d.t GROUP BY batch ORDER BY batch")
    assert again.stop() == 0
    assert {rows for _, rows in counts} == {100}, "a batch is there whole or not at all"
    assert set(acknowledged) <= {batch for batch, _ in counts}


def test_a_view_with_a_schedule_follows_each_insert(own_node: NodeProcess) -> None:
    """It has what an insert brought long before its schedule, also if a refresh runs at that moment; others do not."""
    client = own_node.native()
    for database in ("d", "other"):
        client.execute(f"CREATE DATABASE {database}")
        client.execute(f"CREATE TABLE {database}.t (n UInt64) ENGINE = MergeTree ORDER BY n")
        client.execute(f"CREATE TABLE {database}.copy (total UInt64) ENGINE = MergeTree ORDER BY total")
        client.execute(
            f"CREATE MATERIALIZED VIEW {database}.copies REFRESH EVERY 1 YEAR TO {database}.copy AS"
            f" SELECT sum(n) + sleep(0.2) AS total FROM {database}.t"
        )
        client.execute(f"SYSTEM WAIT VIEW {database}.copies")
    native, http = own_node.native(database="d"), own_node.http(database="d")
    for number in range(1, 7):
        if number % 2:
            native.execute("INSERT INTO t VALUES", [(number,)])
        else:
            http.command(f"INSERT INTO t VALUES ({number})")
        if number in {1, 2, 6}:
            total = sum(range(number + 1))
            eventually(lambda total=total: native.execute("SELECT total FROM copy") == [(total,)], "the copy")
    client.execute("INSERT INTO other.t VALUES", [(1,)])
    native.execute("INSERT INTO t VALUES", [(7,)])
    eventually(lambda: native.execute("SELECT total FROM copy") == [(28,)], "the copy")
    assert client.execute("SELECT total FROM other.copy") == [(0,)]


def test_sigterm_lets_a_running_query_end(own_node: NodeProcess) -> None:
    answers: list[object] = []
    client = own_node.native()
    thread = threading.Thread(target=lambda: answers.append(client.execute("SELECT sleep(1) AS slow, 42")))
    thread.start()
    eventually(lambda: own_node.running("AS slow") == 1, "the query started")
    assert own_node.stop() == 0
    thread.join(10)
    assert answers == [[(0, 42)]]


def test_sigterm_kills_what_does_not_end(tmp_path: Path) -> None:
    node = start(tmp_path, "--grace-s", "0.2")
    sql = "SELECT count() AS endless FROM system.numbers"
    threading.Thread(target=_expect_failure, args=(node, sql), daemon=True).start()
    threading.Thread(target=node.curl, args=("-d", sql, node.url), daemon=True).start()
    try:
        eventually(lambda: node.running("AS endless") == 2, "both queries started")
        assert node.stop() == 0
    finally:
        node.process.kill()


def _expect_failure(node: NodeProcess, sql: str) -> None:
    with pytest.raises((Error, EOFError, OSError)):
        node.native().execute(sql)


def test_a_second_node_on_the_folder_is_refused(node: NodeProcess) -> None:
    refused = run_to_end(node.path, free_port(), free_port())
    assert refused.returncode == 1
    assert "in use by another process" in refused.stderr
    assert node.native().execute("SELECT 1") == [(1,)]


@pytest.mark.parametrize("which", ["native", "http"])
def test_a_taken_port_is_a_clear_error(tmp_path: Path, which: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ports = (port, free_port()) if which == "native" else (free_port(), port)
        refused = run_to_end(tmp_path, *ports)
    assert refused.returncode == 1
    assert f"cannot listen on 127.0.0.1:{port}" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_unusable_folder_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    refused = run_to_end(tmp_path / "file" / "data", free_port(), free_port())
    assert refused.returncode == 1
    assert "Name one you may write" in refused.stderr


def test_results_and_inserts_of_any_length_take_the_same_memory(own_node: NodeProcess) -> None:
    process = Path("/proc") / str(own_node.process.pid)
    client = own_node.native()
    client.execute("CREATE DATABASE d")
    client.execute("CREATE TABLE d.sink (a UInt64, s String) ENGINE = Null")

    def peak(rows: int) -> int:
        """The most memory that the node has while it answers and takes this many rows, kB."""
        (process / "clear_refs").write_text("5")  # proc(5): begins VmHWM again
        # Blocks of 13 MB in every direction; with rows so long the engine's own 65,536 of them would be ten times that.
        sql = f"SELECT number, repeat('x', 2000) FROM numbers({rows}) SETTINGS max_block_size = 6553 FORMAT "
        answer = own_node.curl(
            "-o", "/dev/null", "-w", "%{size_download}", "-d", sql + "JSONCompactEachRow", own_node.url
        )
        assert int(answer.stdout) > 2_000 * rows
        assert sum(1 for _ in client.execute_iter(sql + "Native")) == rows
        # The engine gathers a block of this many rows before it writes; its own million would be all of them.
        url = f"{own_node.url}?query=INSERT%20INTO%20d.sink%20FORMAT%20TSV&max_insert_block_size=6553"
        url += "&min_insert_block_size_rows=6553&min_insert_block_size_bytes=0"
        body = (b"1\t" + b"x" * 2_000 + b"\n") * rows
        assert own_node.curl("--data-binary", "@-", url, data=body).stdout == b""
        (line,) = (line for line in (process / "status").read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1])

    peak(20_000)
    grown = (peak(100_000) - peak(20_000)) * 1_024 / 1e6
    assert grown < 80, f"{grown:.0f} MB more for results and an insert of 200 MB each"


def test_an_insert_that_was_cut_off_is_taken_when_it_is_repeated(tmp_path: Path) -> None:
    """A kill between token and part, made by hand: the log has the token, the part is not there."""

    def insert(running: NodeProcess, number: int) -> None:
        client = running.native()
        token = {"insert_deduplicate": 1, "insert_deduplication_token": f"n{number}"}
        client.execute(f"INSERT INTO m.t SELECT {number}", settings=token)
        client.disconnect()

    running = start(tmp_path)
    try:
        running.native().execute("CREATE DATABASE m")
        running.native().execute(
            "CREATE TABLE m.t (a UInt64) ENGINE = MergeTree ORDER BY a PARTITION BY a % 2 "
            "SETTINGS non_replicated_deduplication_window = 100"
        )
        for number in range(5):
            insert(running, number)
        running.native().execute("OPTIMIZE TABLE m.t FINAL")  # the tokens of merged parts stay known
        insert(running, 5)
        running.stop(signal.SIGKILL)
        (cut_off,) = tmp_path.glob("**/1_6_6_0")
        shutil.rmtree(cut_off)
        running = start(tmp_path)
        for number in range(6):
            insert(running, number)
        assert running.native().execute("SELECT a, count() FROM m.t GROUP BY a ORDER BY a") == [
            (n, 1) for n in range(6)
        ]
    finally:
        running.stop(signal.SIGKILL)


def test_merges_of_a_young_table_rewrite_each_row_once_a_level(node: NodeProcess, database: str) -> None:
    """What merges rewrite grows with the logarithm of the inserts: no row is rewritten with each few new parts."""
    inserts = 240
    client = node.native()
    client.execute(f"CREATE TABLE {database}.t (a UInt64) ENGINE = MergeTree ORDER BY a")
    for number in range(inserts):
        client.execute(f"INSERT INTO {database}.t SELECT {number}")
    of_table = f"FROM system.parts WHERE database = '{database}' AND table = 't'"

    def active() -> int:
        return int(client.execute(f"SELECT count() {of_table} AND active")[0][0])

    eventually(lambda: active() <= 20, "merges")
    # Merged parts are kept for a minute, so their rows can be counted.
    ((rewritten,),) = client.execute(f"SELECT sum(rows) {of_table} AND level > 0")
    client.disconnect()
    assert rewritten <= 2 * inserts


def test_parts_of_inserts_merge_beside_large_merges(node: NodeProcess, database: str) -> None:
    """Many tables are due for a large merge at once, and the parts of inserts must not pile up while these run."""
    client = node.native()
    large = [f"{database}.large_{number}" for number in range(3)]
    for table in large:
        client.execute(f"CREATE TABLE {table} (a UInt64, b String) ENGINE = MergeTree ORDER BY a")
        client.execute(f"SYSTEM STOP MERGES {table}")
        for _ in range(10):
            client.execute(f"INSERT INTO {table} SELECT rand64(), hex(rand64()) FROM numbers(400000)")
    client.execute(f"CREATE TABLE {database}.small (a UInt64) ENGINE = MergeTree ORDER BY a")
    counts = f"""
        SELECT (SELECT count() FROM system.merges WHERE database = '{database}' AND table LIKE 'large%'),
               (SELECT count() FROM system.parts WHERE database = '{database}' AND table = 'small' AND active),
               (SELECT uniqExact(table) FROM system.parts
                WHERE database = '{database}' AND table LIKE 'large%' AND active AND level > 0)"""
    for table in large:
        client.execute(f"SYSTEM START MERGES {table}")
        client.execute(f"INSERT INTO {table} VALUES (1, 'asks for a merge')")
    seen: list[tuple[int, int, int]] = []

    def small_parts() -> int:
        seen[:] = client.execute(counts)
        return seen[0][1]

    eventually(lambda: bool(client.execute(counts)[0][0] == 2), "two large merges at once")
    for number in range(10):
        client.execute(f"INSERT INTO {database}.small SELECT {number}")
    eventually(lambda: small_parts() == 1, "the small merge")
    client.disconnect()
    # No large merge has ended before it.
    ((running, _, ended),) = seen
    assert (running, ended) == (2, 0)
