"""`medallion doctor`: what each check makes of what it finds, and that a failure is the exit code."""

from __future__ import annotations

import json
import socket
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from confluent_kafka import KafkaException, Producer
from typer.testing import CliRunner

from cli.common.workers import WorkerRules
from cli.main import app
from cli.stack.doctor import cold, host, servers
from cli.stack.doctor.clock import clock, offsets
from cli.stack.doctor.finding import Finding, attempt
from config.errors import MedallionError
from config.process.disks import Disk
from config.settings import Settings
from ddl.grants import needed
from ddl.plan import State
from ddl.readers import readers_database
from ddl.runner import ObjectStatus
from ddl.statements import ObjectKind
from deploy.embedded.kafka.topics import wanted
from deploy.embedded.layout import ServiceState, StackState
from deploy.embedded.ports import LOOPBACK, free_ports
from offload.hourly.status import TableStatus
from tests.http_server import serving

ROOT = Path(__file__).resolve().parents[2]
GIB = 1 << 30
LOCK = """#
aiohttp==3.14.5 \\
    --hash=sha256:01
    # via
    #   ccxt==1
Faust_Streaming==0.15.3 \\
    --hash=sha256:02
"""


def assert_remedies(*findings: Finding) -> None:
    """What is not well has a remedy, and nothing else has."""
    for one in findings:
        assert bool(one.remedy) == (one.outcome != "ok"), one


def test_python() -> None:
    assert host.python().outcome == "ok"
    assert host.python((3, 10, 14)).outcome == "fail"
    assert "3.11" in host.python((3, 10, 14)).remedy
    assert_remedies(host.python(), host.python((3, 10, 14)))


def test_packages_are_compared_with_the_lock() -> None:
    locked = host.read_lock(LOCK)
    assert locked == {"aiohttp": "3.14.5", "faust-streaming": "0.15.3"}
    same = host.compare_packages({**locked, "other": "1"}, locked, "lock.txt")
    older = host.compare_packages({**locked, "aiohttp": "3.14.4"}, locked, "lock.txt")
    missing = host.compare_packages({"aiohttp": "3.14.4"}, locked, "lock.txt")
    assert [one.outcome for one in (same, older, missing)] == ["ok", "warn", "fail"]
    assert "aiohttp 3.14.4 instead of 3.14.5" in older.found
    assert missing.found == "missing: faust-streaming"
    assert "lock.txt" in missing.remedy
    assert_remedies(same, older, missing)


@pytest.mark.parametrize("embedded", [True, False])
def test_this_environment_is_the_lock(embedded: bool) -> None:
    assert host.packages(embedded=embedded).outcome == "ok"


def test_cores_and_memory() -> None:
    assert [host.cores(count).outcome for count in (0.5, 1, 2, 8)] == ["warn", "warn", "ok", "ok"]
    before = [host.memory(size, running=False) for size in (GIB // 2, GIB, 2 * GIB)]
    assert [one.outcome for one in before] == ["fail", "warn", "ok"]
    beside = [host.memory(size, running=True) for size in (GIB // 8, GIB // 2)]
    assert [one.outcome for one in beside] == ["warn", "ok"]
    assert_remedies(*before, *beside, host.cores(1), host.cores(2))


def test_a_control_group_limits_cores_and_memory(tmp_path: Path) -> None:
    free = host.usable_cores(tmp_path)
    (tmp_path / "cpu.max").write_text("max 100000\n")
    assert host.usable_cores(tmp_path) == free
    (tmp_path / "cpu.max").write_text("25000 100000\n")
    assert host.usable_cores(tmp_path) == 0.25

    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("100\n")
    assert host.available_memory(tmp_path) > 1000
    (tmp_path / "memory.max").write_text("1000\n")
    assert host.available_memory(tmp_path) == 900
    (tmp_path / "memory.stat").write_text("anon 40\ninactive_file 60\n")
    assert host.available_memory(tmp_path) == 960, "cached files are given up first"


def test_disks() -> None:
    found = host.disks(
        [Disk(name, Path("/d"), free, 100 * GIB) for name, free in (("a", 50), ("b", GIB), ("c", 90 * GIB))]
    )
    assert [(one.name, one.outcome) for one in found] == [
        ("disk (a)", "fail"),
        ("disk (b)", "warn"),
        ("disk (c)", "ok"),
    ]
    assert_remedies(*found)


def test_ports_that_are_taken() -> None:
    """The page finds another port by itself; ClickHouse's are where clients look, so `up` refuses to start."""
    with socket.socket() as taken:
        taken.bind((LOOPBACK, 0))
        taken.listen()
        port = taken.getsockname()[1]
        warned = host.ports(port, {"--native-port": 0})
        failed = host.ports(0, {"--native-port": port, "--http-port": 0})
    free = host.ports(0, {"--native-port": 0})
    assert [one.outcome for one in (warned, failed, free)] == ["warn", "fail", "ok"]
    assert str(port) in warned.found
    assert str(port) in failed.found
    assert "`medallion up --native-port 0`" in failed.remedy
    assert_remedies(warned, failed, free)


@pytest.mark.parametrize("name", ["new", "file", "link", "full", "a*b"])
def test_a_data_folder_is_refused_as_up_refuses_it(tmp_path: Path, name: str) -> None:
    """And nothing is made or changed."""
    folder = tmp_path / name
    if name == "file":
        folder.write_text("")
    if name == "link":
        folder.symlink_to(tmp_path)
    if name == "full":
        folder.mkdir()
        folder.chmod(0o755)  # whatever the umask is
        (folder / "letter").write_text("")
    before = sorted(tmp_path.rglob("*"))
    if name == "new":
        assert host.data_folder(folder).outcome == "ok"
    else:
        with pytest.raises(MedallionError, match=r"--data-dir|leads to"):
            host.data_folder(folder)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("apart", "synchronised", "outcome"),
    [
        ({}, True, "ok"),
        ({}, None, "warn"),
        ({}, False, "warn"),
        ({"a": 1.4, "b": -1.5}, None, "ok"),
        ({"a": 1.4}, False, "warn"),
        ({"a": 0.0, "b": -3.0}, True, "warn"),
        ({"a": 61.0, "b": -3.0}, True, "fail"),
        ({"a": 1.0, "b": -7200.0}, True, "fail"),
    ],
)
def test_clock(apart: dict[str, float], synchronised: bool | None, outcome: str) -> None:
    found = clock(apart, synchronised)
    assert found.outcome == outcome
    assert_remedies(found)
    if outcome == "fail":
        assert ("b is 7200 s behind" if "b" in found.found else "a is 61 s ahead of") in found.found


@pytest.fixture
def an_hour_ahead() -> Iterator[str]:
    """Something whose clock is an hour ahead; it answers with an error, as a catalog does without a login."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response_only(401)
            self.send_header("Date", formatdate(time.time() + 3600, usegmt=True))
            self.end_headers()

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}"


def test_the_clock_of_a_part_is_its_header(an_hour_ahead: str) -> None:
    (dead,) = free_ports(1)
    found = offsets(Settings(clickhouse_http_port=dead, prometheus_url=an_hour_ahead, s3_endpoint=an_hour_ahead))
    assert set(found) == {"Prometheus", "object store"}, "a part that does not answer says nothing of the time"
    assert all(abs(offset - 3600) <= 2 for offset in found.values())


def test_processes() -> None:
    broker = ServiceState(name="broker", pid=1, state="healthy")
    silver = ServiceState(name="silver-0", pid=2, state="restarting", detail="exit code 1")
    state = StackState(data_dir=Path("/s"), supervisor_pid=3, started_at=datetime.now(UTC), state="healthy",
                       environment={}, services=[broker])  # fmt: skip
    ill = servers.processes(state.model_copy(update={"services": [broker, silver]}))
    stopping = servers.processes(state.model_copy(update={"state": "stopping"}))
    assert servers.processes(state).outcome == "ok"
    assert (ill.outcome, ill.found) == ("fail", "silver-0 restarting exit code 1")
    assert stopping.outcome == "fail"
    assert_remedies(servers.processes(state), ill, stopping)


def test_the_version_of_clickhouse() -> None:
    found = [servers.server_version(version) for version in ("25.12.1.5", "26.1.0.1", "26.8.20.9", "27.1.1.1-lts")]
    assert [one.outcome for one in found] == ["warn", "ok", "ok", "ok"]
    assert_remedies(*found)


@pytest.mark.parametrize(
    ("file", "database", "besides"),
    [
        ("compose/clickhouse/users.xml", "medallion", ""),
        ("cluster/files/cluster-users.xml", readers_database(Settings()), "medallion.*"),
    ],
)
def test_the_grants_are_those_of_the_deployed_user(file: str, database: str, besides: str) -> None:
    """Neither more nor less; on a shard's own database a cluster's user also has what it has on one server."""
    told = Settings(clickhouse_database=database, s3_endpoint="http://object-store:9000")
    users = ET.parse(ROOT / "deploy" / file)
    given = set()
    for query in users.iterfind("users/ingest/grants/query"):
        privileges, _, scope = str(query.text).removeprefix("GRANT ").rpartition(" ON ")
        given |= {(privilege, scope) for privilege in privileges.split(", ")}
    asked = {
        (privilege, scope.replace("`", "")) for scope, privileges in needed(told).items() for privilege in privileges
    }
    assert asked == given - {("CREATE VIEW", besides), ("DROP VIEW", besides)}
    assert "S3" not in needed(Settings(iceberg_warehouse="file:///w")), "a warehouse on a disk needs no bucket"


def test_missing_grants_are_named() -> None:
    assert servers.granted("reader", []).outcome == "ok"
    found = servers.granted("reader", ["INSERT ON medallion.*"])
    assert found.outcome == "fail"
    assert "INSERT ON medallion.*" in found.found
    assert_remedies(found, servers.granted("reader", []))


def test_migrations() -> None:
    def finding(*states: State) -> Finding:
        return servers.compare_objects(
            [ObjectStatus(f"t{number}", ObjectKind.TABLE, "", state, "") for number, state in enumerate(states)]
        )

    same, extra = finding(State.APPLIED), finding(State.APPLIED, State.UNEXPECTED)
    pending, many = finding(State.PENDING, State.UNEXPECTED), finding(*[State.MISSING] * 7)
    assert [one.outcome for one in (same, extra, pending, many)] == ["ok", "warn", "fail", "fail"]
    assert pending.found == "t0 pending, t1 unexpected"
    assert many.found.endswith("t4 missing and 2 more")
    assert_remedies(same, extra, pending, many)


def test_latest_prices_are_made() -> None:
    at = "2026-11-30 12:00:00"
    found = [servers.refreshed(views) for views in ({"mv": ("", at)}, {"mv": ("no space", at)}, {"mv": ("", None)}, {})]
    assert [one.outcome for one in found] == ["ok", "fail", "fail", "fail"]
    assert at in found[0].found
    assert at in found[1].found
    assert "no space" in found[1].found
    assert_remedies(*found)


def test_topics() -> None:
    expected = {"raw": 4, "dlq": 1}
    found = [
        servers.compare_topics(have, expected) for have in ({"raw": 4, "dlq": 4}, {"raw": 3, "dlq": 1}, {"raw": 4})
    ]
    assert [one.outcome for one in found] == ["ok", "warn", "fail"]
    assert "raw has 3 of 4" in found[1].found
    assert "dlq" in found[2].found
    assert_remedies(*found)


def test_workers_validate_by_one_version() -> None:
    one, other = WorkerRules("a", "1-x"), WorkerRules("b", "1-y")
    silent = WorkerRules("c", "", "its metrics do not answer")
    found = [
        servers.workers(rules) for rules in ([one], [one, WorkerRules("b", "1-x")], [one, other], [one, silent], [])
    ]
    assert [one.outcome for one in found] == ["ok", "ok", "fail", "fail", "warn"]
    assert "b by 1-y" in found[2].found
    assert "c: its metrics do not answer" in found[3].found
    assert_remedies(*found)


def test_the_age_of_the_watermark() -> None:
    def table(name: str, lag_s: float, until: datetime | None) -> TableStatus:
        return TableStatus(table=name, complete_until=until, last_slice="", rows=1, files=1, bytes=1, pending=1,
                           lag_seconds=lag_s, snapshot_id=None, committed_at=None)  # fmt: skip

    ten = datetime(2026, 1, 5, 10, tzinfo=UTC)
    quiet = table("bars", 0.0, ten - timedelta(days=9))
    fresh = cold.watermark([table("raw", 0.0, ten), quiet, table("silver", 3600.0, ten - timedelta(hours=1))])
    assert "2026-01-05 10:00" in cold.watermark([quiet, table("raw", 0.0, ten)]).found, "it had no rows for days"
    late = cold.watermark([table("raw", 0.0, ten), table("silver", 10_800.0, None)])
    assert (fresh.outcome, late.outcome) == ("ok", "warn")
    assert "2026-01-05 09:00" in fresh.found, "the table that is furthest behind counts"
    assert "silver is 3.0 hours behind" in late.found
    assert_remedies(fresh, late)


@pytest.mark.parametrize("error", [OSError("refused"), KafkaException("away")])
def test_a_part_that_does_not_answer_is_a_failure_with_a_remedy(error: Exception) -> None:
    def look() -> Finding:
        raise error

    found = attempt("part", "start it", look)
    assert (found.name, found.outcome, found.remedy) == ("part", "fail", "start it")
    assert found.found


def test_an_alertmanager_that_nobody_named() -> None:
    """What one with and without a receiver says is in test_alerts.py."""
    assert cold.alerts(Settings()).outcome == "warn"
    assert_remedies(cold.alerts(Settings()))


def test_a_deployed_stack_whose_clickhouse_is_away(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The broker is a real one; the exit code is the failures', and each check says its own."""
    cluster = Producer({"test.mock.num.brokers": 1})
    (dead,) = free_ports(1)
    known = Settings()
    brokers = cluster.list_topics(known.bronze_topic, timeout=30).brokers.values()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setenv("MEDALLION_KAFKA_BOOTSTRAP_SERVERS", ",".join(f"{one.host}:{one.port}" for one in brokers))
    for name in ("CLICKHOUSE_PORT", "CLICKHOUSE_HTTP_PORT"):
        monkeypatch.setenv(f"MEDALLION_{name}", str(dead))
    monkeypatch.setenv("MEDALLION_ICEBERG_CATALOG_URI", f"http://127.0.0.1:{dead}/catalog")

    def examine(code: int) -> dict[str, dict[str, str]]:
        done = CliRunner().invoke(app, ["doctor", "--json"])
        assert done.exit_code == code, done.output
        return {one["name"]: one for one in json.loads(done.stdout)}

    found = examine(1)
    assert {name for name, one in found.items() if one["outcome"] == "fail"} == {"clickhouse", "topics", "catalog"}
    assert "grants" not in found, "what cannot be asked is not reported as a fault of its own"
    assert known.raw_topics[0] in found["topics"]["found"]
    for topic in wanted(known):
        cluster.list_topics(topic.topic, timeout=30)
    assert examine(1)["topics"]["outcome"] == "ok"
    assert not list(tmp_path.iterdir())
    cluster.flush(0)


def test_before_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The folder need not be there, and is not made; warnings leave the exit code 0."""
    monkeypatch.setattr(host, "available_memory", lambda: GIB)
    folder = tmp_path / "stack"
    anywhere = ["--native-port", "0", "--http-port", "0", "--data-dir", str(folder)]
    done = CliRunner().invoke(app, ["doctor", "--json", *anywhere])
    found = {one["name"]: one for one in json.loads(done.stdout)}
    assert done.exit_code == 0, done.output
    assert found["memory"]["outcome"] == "warn"
    disk = "disk (data folder, warehouse)"
    assert {"python", "packages", "cores", disk, "data folder", "ports", "clock", "stack"} <= set(found)
    assert str(folder) in found["stack"]["found"], "that no stack was looked at is said"
    assert not folder.exists()
    shown = CliRunner().invoke(app, ["doctor", *anywhere])
    assert found["memory"]["found"] in " ".join(shown.stdout.split())
    monkeypatch.setattr(host, "available_memory", lambda: GIB // 4)
    assert CliRunner().invoke(app, ["doctor", *anywhere]).exit_code == 1
