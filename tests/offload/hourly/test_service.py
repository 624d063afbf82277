"""The offload service: it offloads by itself, says how it is, tries again after a failure, and stops when told to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
import urllib3
from prometheus_client.parser import text_string_to_metric_families
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.hourly.status import status
from offload.service import OffloadService, offload_service
from offload.tables.cold_tables import BY_NAME, TABLES
from tests.clickhouse import ENVIRONMENT
from tests.offload.cold_tables import read
from tests.offload.hot_tables import ARRIVAL, HotTables, duplicate_rows, of_one_hour, read_tape

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def trades(tape: Path) -> pl.DataFrame:
    return read_tape(tape).head(300)


def eventually(check: Callable[[], None]) -> None:
    """Wait until `check` no longer fails."""
    retrying = retry(
        retry=retry_if_exception_type((AssertionError, urllib3.exceptions.HTTPError)),
        stop=stop_after_delay(60),
        wait=wait_fixed(0.1),
        reraise=True,
    )
    retrying(check)()


@contextmanager
def serving(service: OffloadService) -> Iterator[str]:
    """The service in a thread; its address."""
    ports: list[int] = []
    up = threading.Event()

    def ready(port: int) -> None:
        ports.append(port)
        up.set()

    thread = threading.Thread(target=service.serve, args=(ready,))
    thread.start()
    try:
        assert up.wait(30)
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        service.stop.set()
        thread.join(60)
        assert not thread.is_alive()


def get(url: str) -> tuple[int, str]:
    answer = urllib3.request("GET", url, retries=False, timeout=5)
    return answer.status, answer.data.decode()


def samples(url: str) -> dict[tuple[str, str], float]:
    families = text_string_to_metric_families(get(f"{url}/metrics")[1])
    return {(s.name, "".join(s.labels.values())): s.value for family in families for s in family.samples}


# Of the fast tier: commands/test_status.py and test_watermarks.py.
@pytest.mark.nightly
def test_status_says_what_is_pending_and_then_what_is_there(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    trades = trades.filter(pl.col("arrived") < ARRIVAL + timedelta(hours=2))
    hot.load(trades)
    hot.load_left_out(trades)
    hot.load_series()
    before = {table.table: table for table in status(Tiers.open(settings))}
    of_series = {cold.name for cold in TABLES if cold.layer == "series"}
    assert {
        (name in of_series, table.pending, table.rows, table.lag_seconds > 3600) for name, table in before.items()
    } == {
        (False, 2, 0, True),
        (True, 1, 0, True),
    }
    with serving(offload_service(settings)) as url:
        eventually(lambda: _assert_equal(samples(url).get(("medallion_cold_rows", "silver_trades")), 200))
        code, health = get(f"{url}/healthz")
        shown = {table["table"]: table for table in json.loads(health)["tables"]}
        assert (code, json.loads(health)["healthy"], set(shown)) == (200, True, set(BY_NAME))
        assert shown["silver_trades"]["complete_until"] == "2026-01-05T12:00:00Z"
        assert (shown["silver_trades"]["rows"], shown["silver_trades"]["lag_seconds"]) == (200, 0)
        assert samples(url)["medallion_offload_complete_until_timestamp_seconds", "gold_ohlcv_1m"] == 1767614400
        found = samples(url)
        assert found["medallion_offload_runs_total", "ok"] == 1
        assert found["medallion_offload_written_rows_total", "raw_trades"] == 200
        assert {found["medallion_offload_lag_seconds", table.name] for table in TABLES} == {0}
    after = {table.table: table for table in status(Tiers.open(settings))}
    assert {(table.pending, table.lag_seconds) for table in after.values()} == {(0, 0)}
    assert after["silver_trades"].last_slice == "2026-01-05T11"
    assert {name: after[name].rows for name in BY_NAME} == {
        name: read(settings, BY_NAME[name]).height for name in BY_NAME
    }


def _assert_equal(found: float | None, wanted: float) -> None:
    assert found == wanted


def test_after_a_failure_it_is_unhealthy_and_tries_again(
    settings: Settings, hot: HotTables, trades: pl.DataFrame
) -> None:
    hot.insert("duplicate_trades", duplicate_rows(of_one_hour(trades)))
    hot.client.command("RENAME TABLE duplicate_trades TO duplicates_away")
    with serving(offload_service(settings, retry_seconds=0.5)) as url:
        eventually(lambda: _assert_equal(get(f"{url}/healthz")[0], 503))
        assert "duplicate_trades" in get(f"{url}/healthz")[1]
        hot.client.command("RENAME TABLE duplicates_away TO duplicate_trades")
        eventually(lambda: _assert_equal(get(f"{url}/healthz")[0], 200))
        assert samples(url)["medallion_offload_runs_total", "failed"] >= 1
    assert read(settings, BY_NAME["duplicate_trades"]).height == 300


def test_the_command_ends_well_on_sigterm(settings: Settings, hot: HotTables, trades: pl.DataFrame) -> None:
    hot.insert("duplicate_trades", duplicate_rows(of_one_hour(trades)))
    names = {
        "clickhouse_host",
        "clickhouse_http_port",
        "clickhouse_database",
        "iceberg_catalog_uri",
        "iceberg_warehouse",
    }
    given = {f"MEDALLION_{name}".upper(): str(value) for name, value in settings.model_dump(include=names).items()}
    command = [sys.executable, "-m", "cli", "offload", "serve"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **given, **ENVIRONMENT}, stderr=subprocess.PIPE, text=True
    ) as service:
        # A run copies the watermarks when it has offloaded everything else.
        offloaded = "SELECT sum(rows) FROM offload_progress WHERE table_name = 'duplicate_trades'"
        eventually(lambda: _assert_equal(float(str(hot.client.command(offloaded))), 300))
        service.send_signal(signal.SIGTERM)
        assert service.wait(60) == 0
        assert service.stderr is not None
        assert "stops after the slice under way" in service.stderr.read()
