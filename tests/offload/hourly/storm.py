"""A storm: rows arrive, the offload and the gate run, and every attempt of them meets a fault drawn by a seed."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import requests
from pyiceberg.exceptions import CommitFailedException
from tenacity import retry, retry_if_result, stop_after_delay, wait_fixed

from config.settings import Settings
from offload.clickhouse.client import ClickHouseHttp, HotStore
from offload.clickhouse.tiers import Tiers
from offload.errors import OffloadError
from offload.proof.verify import verify
from offload.retention.gate import close_gate
from offload.run import run
from offload.tables.cold_tables import Layer
from tests.clickhouse import as_json
from tests.offload.conftest import Node
from tests.offload.hot_tables import HotTables
from tests.offload.hourly import faults
from tests.offload.servers.fault_proxy import KINDS, FaultProxy

ROOT = Path(__file__).resolve().parents[3]
LATER = datetime(2029, 1, 1, tzinfo=UTC)
BATCH = 60
# So many attempts share a day of event time; then the gate may let it go.
SEASON = 25
# Every so many attempts ClickHouse is killed: it starts in seconds.
KILL_EVERY = 10
LAYERS: tuple[Layer, ...] = ("raw", "bronze", "silver", "gold")
STEPS = ("exporting", "streaming", "exported", "before-catalog", "after-catalog", "committed")
VICTIMS = ("raw_trades", "bronze_trades", "silver_trades", "gold_ohlcv_1m", "gold_ohlcv_1d")
GATED = ("trades_raw", "silver_trades", "gold_ohlcv_state")
EXPECTED = (OffloadError, OSError, requests.RequestException, CommitFailedException)


class Storm:
    """One seed's storm over one warehouse; `count` are the faults that did happen, by kind.

    Without `node`, ClickHouse itself is not killed.
    """

    def __init__(
        self,
        settings: Settings,
        hot: HotTables,
        tape: pl.DataFrame,
        seed: int,
        folder: Path,
        node: Node | None,
        proxy: FaultProxy | None,
    ) -> None:
        self._settings, self._hot, self._tape, self._folder, self._proxy = settings, hot, tape, folder, proxy
        self._node = node
        self._random = random.Random(seed)
        self.arrived: list[pl.DataFrame] = []
        self.count: Counter[str] = Counter()
        self._attempts = 0

    def blow(self, wanted: int, kills: int) -> None:
        """Attempt after attempt until `wanted` faults have happened, at least `kills` of them SIGKILLs."""
        for number in range(kills):
            self._arrive()
            self._kill(number)
            self._check()
        while self.count.total() < wanted:
            self._arrive()
            self._attempt(self._offload)
            if self._attempts % SEASON == 0:
                self._season_ends()
        self._season_ends()

    def _arrive(self) -> None:
        """A batch, an hour of arrival and a day of event time a season of its own."""
        start, season = len(self.arrived) * BATCH, self._attempts // SEASON
        batch = self._tape.slice(start, BATCH).with_columns(
            pl.col("time") + timedelta(days=season),
            (
                pl.lit(datetime(2026, 1, 5, tzinfo=UTC))
                + pl.duration(days=season, microseconds=pl.col("offset").cast(pl.Int64))
            )
            .dt.cast_time_unit("us")
            .alias("arrived"),
        )
        assert batch.height == BATCH, "the tape is too short for so many attempts"
        self._hot.load(batch)
        self.arrived.append(batch)
        self._attempts += 1

    def _attempt(self, action: Callable[[HotStore], None]) -> None:
        kind, store, fault, fired = self._draw()
        with fault:
            try:
                action(store)
            except EXPECTED:
                # Without a fault nothing may fail.
                if not fired():
                    raise
        if fired():
            self.count[kind] += 1

    def _offload(self, store: HotStore) -> None:
        run(Tiers.open(self._settings, store), layers=(self._random.choice(LAYERS),))

    def _season_ends(self) -> None:
        """All is offloaded, then the gate drops, both in the storm; readers must not notice."""
        self._attempt(self._offload_all)
        self._offload_all(None)
        differences = [found for table in verify(Tiers.open(self._settings)).tables for found in table.differences]
        # Of what has left there is nothing hot to compare with.
        assert [found for found in differences if found.hot_rows] == []
        for _ in range(2):
            self._attempt(self._gate)
            self._check()
        self._gate(None)
        self._check()
        assert self._hot.count("silver_trades") == self._hot.count("trades_raw") == 0

    def _offload_all(self, store: HotStore | None) -> None:
        run(Tiers.open(self._settings, store))

    def _gate(self, store: HotStore | None) -> None:
        close_gate(Tiers.open(self._settings, store), drop=True, tables=GATED, now=LATER)

    def _check(self) -> None:
        """Every trade is shown once, wherever it is at this moment."""
        if not int(str(self._hot.client.command("EXISTS VIEW silver_trades_all"))):
            run(Tiers.open(self._settings), layers=())
        rows = sum(batch.height for batch in self.arrived)
        silver = "SELECT concat(toString(count()), ' ', toString(uniqExact(trade_id))) FROM silver_trades_all"
        assert str(self._hot.client.command(silver)) == f"{rows} {rows}"
        assert int(str(self._hot.client.command("SELECT sum(trade_count) FROM gold_ohlcv_1m_all"))) == rows

    def _draw(self) -> tuple[str, HotStore, AbstractContextManager[object], Callable[[], bool]]:
        """A fault: its name, ClickHouse, what surrounds the attempt, and whether it has happened."""
        when = faults.Countdown(self._random.randrange(8))
        plain = ClickHouseHttp(self._settings)
        clean: AbstractContextManager[object] = nullcontext()
        if self._node is not None and self._attempts % KILL_EVERY == 0:
            return self._draw_kill(self._node, when)
        kinds = ["clickhouse", "stream", *faults.CATALOG_ERRORS, *(["disk"] if self._proxy is None else ["s3"] * 8)]
        kind = self._random.choice(kinds)
        if kind == "clickhouse":
            return "ClickHouse refuses", faults.FailingClickHouse(self._settings, when), clean, lambda: when.fired
        if kind == "stream":
            when = faults.Countdown(self._random.randrange(2))
            return "the export breaks off", faults.CuttingClickHouse(self._settings, when), clean, lambda: when.fired
        if kind == "disk":
            return "a write fails half-way", plain, faults.failing_disk(when), lambda: when.fired
        if kind == "s3":
            return self._draw_s3(plain)
        error, after = faults.CATALOG_ERRORS[kind]
        when = faults.Countdown(self._random.randrange(2))
        return kind, plain, faults.failing_commit(when, error, after=after), lambda: when.fired

    def _draw_kill(
        self, node: Node, when: faults.Countdown
    ) -> tuple[str, HotStore, AbstractContextManager[object], Callable[[], bool]]:
        """ClickHouse itself is killed, and started again after the attempt."""
        in_stream = self._random.random() < 0.5
        if in_stream:
            when = faults.Countdown(self._random.randrange(2))
        store = faults.DyingClickHouse(self._settings, when, node.kill, in_stream=in_stream)

        @contextmanager
        def mended() -> Iterator[None]:
            try:
                yield
            finally:
                if store.killed:
                    node.start()

        return "ClickHouse is killed", store, mended(), lambda: store.killed

    def _draw_s3(self, plain: HotStore) -> tuple[str, HotStore, AbstractContextManager[object], Callable[[], bool]]:
        assert self._proxy is not None
        proxy, kind = self._proxy, self._random.choice(KINDS)
        # A client repeats a request some times: a long row of broken ones it cannot get round.
        times = self._random.choice((1, 2, 12))

        @contextmanager
        def broken(skip: int) -> Iterator[None]:
            proxy.arm(kind, skip, times)
            try:
                yield
            finally:
                proxy.disarm()

        name = f"S3: {kind}, " + ("once or twice" if times < 12 else "again and again")
        return name, plain, broken(self._random.randrange(60)), lambda: proxy.broken > 0

    def _kill(self, number: int) -> None:
        """SIGKILL an offloader at a point of a table that has something to do."""
        table, step = VICTIMS[number % len(VICTIMS)], self._random.choice(STEPS)
        marker = self._folder / f"reached{number}"
        command = [sys.executable, "-m", "tests.offload.hourly.worker", as_json(self._settings)]
        if (table, step) == ("raw_trades", "streaming"):
            step = "exported"
        with subprocess.Popen([*command, f"{step}:{table}", str(marker)], cwd=ROOT, env=os.environ) as worker:
            _reached(marker, worker)
            worker.kill()
        self.count[f"SIGKILL: {step}"] += 1


@retry(retry=retry_if_result(lambda reached: not reached), stop=stop_after_delay(120), wait=wait_fixed(0.02))
def _reached(marker: Path, worker: subprocess.Popen[bytes]) -> bool:
    assert worker.poll() is None, "the worker ended before its point"
    return marker.exists()
