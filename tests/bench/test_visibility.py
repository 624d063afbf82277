"""A look at the candles follows each insert, and misses none."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.pipeline.new_parts import NewParts
from bench.pipeline.visibility import Watcher

_WAIT_S = 10.0


def insert(table: Path, name: str) -> None:
    """Add a part as ClickHouse does: under another name first."""
    (table / f"tmp_insert_{name}").mkdir()
    (table / f"tmp_insert_{name}").rename(table / name)


def test_a_part_of_an_insert_is_noticed_once(tmp_path: Path) -> None:
    parts = NewParts(tmp_path)
    assert not parts.have_come()
    insert(tmp_path, "60-202611_1_1_1")
    assert parts.have_come()
    assert not parts.have_come()


def test_two_parts_within_a_tick_of_the_file_system_are_both_noticed(tmp_path: Path) -> None:
    parts = NewParts(tmp_path)
    insert(tmp_path, "all_1_1_0")
    assert parts.have_come()
    tick = tmp_path.stat().st_mtime_ns
    insert(tmp_path, "all_2_2_0")
    os.utime(tmp_path, ns=(tick, tick))
    assert parts.have_come()


@pytest.mark.parametrize("name", ["all_1_2_1", "tmp_insert_all_3_3_0", "detached", "format_version.txt"])
def test_a_merge_and_what_is_no_part_are_left_out(tmp_path: Path, name: str) -> None:
    parts = NewParts(tmp_path)
    (tmp_path / name).mkdir()
    assert not parts.have_come()


def test_parts_of_other_partitions_are_left_out(tmp_path: Path) -> None:
    parts = NewParts(tmp_path, "60-")
    insert(tmp_path, "3600-202611_1_1_1")
    assert not parts.have_come()
    insert(tmp_path, "60-202611_2_2_1")
    assert parts.have_come()


class Table:
    """A client of one market. `add` makes a part, whose trades show after as many looks as `late` says."""

    def __init__(self, folder: Path, late: int) -> None:
        self._folder, self._late = folder, late
        self._hidden: list[int] = []
        self.trades = self.looks = 0
        self._looked = threading.Condition()

    def add(self, trades: int) -> None:
        with self._looked:
            self.trades += trades
            self._hidden.append(self._late)
            number = self.trades
        insert(self._folder, f"all_{number}_{number}_0")

    def execute(self, _query: str) -> list[tuple[str, str, int]]:
        with self._looked:
            self.looks += 1
            self._hidden = [left - 1 for left in self._hidden if left > 0]
            self._looked.notify_all()
            return [("binance", "BTC-USDT", self.trades - len(self._hidden))]

    def disconnect(self) -> None:
        """Nothing to close."""

    def wait(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _WAIT_S
        with self._looked:
            # The watcher counts a look only after `execute` has returned.
            while not self._looked.wait_for(done, 0.01):
                assert time.monotonic() < deadline


def shows(watcher: Watcher, trades: int) -> Callable[[], bool]:
    return lambda: watcher.trades == trades


@pytest.mark.parametrize("late", [0, 3])
def test_the_watcher_sees_every_insert_soon_after_its_part(tmp_path: Path, late: int, monkeypatch: Any) -> None:
    # Without the looks that no part asks for.
    monkeypatch.setattr("bench.pipeline.visibility._LONGEST_S", 3_600.0)
    monkeypatch.setattr("bench.pipeline.visibility._APPEARS_S", 3_600.0)
    table = Table(tmp_path, late)
    with Watcher(table, "", parts=NewParts(tmp_path)) as watcher:
        table.wait(lambda: table.looks > 0)
        for seen in range(1, 21):
            table.add(1)
            table.wait(shows(watcher, seen))
    assert watcher.totals()["trades"].unique().sort().to_list() == list(range(21))
    assert table.looks <= 1 + 20 * (late + 2)


def test_the_watcher_looks_now_and_then_without_a_new_part(tmp_path: Path) -> None:
    table = Table(tmp_path, 0)
    with Watcher(table, "", parts=NewParts(tmp_path)):
        table.wait(lambda: table.looks >= 3)
