"""`medallion doctor` on a stack that runs: nothing fails while it works, and what is broken fails by its name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.stack.conftest import Medallion

# Its siblings: cli/test_doctor.py and offload/commands/test_doctor.py have each check.
pytestmark = [pytest.mark.stack, pytest.mark.nightly]
HOST = {"python", "packages", "cores", "memory", "disk (data folder, warehouse)", "clock"}
STACK = {"processes", "clickhouse", "grants", "migrations", "prices", "topics", "silver", "catalog", "offload"}


def test_what_is_broken_fails_by_its_name(stack: Path, medallion: Medallion, recordings: Path) -> None:
    def examine(code: int) -> dict[str, dict[str, str]]:
        done = medallion("doctor", "--json", "--data-dir", stack, check=False)
        assert done.returncode == code, done.stdout + done.stderr
        return {one["name"]: one for one in json.loads(done.stdout)}

    found = examine(0)
    assert set(found) == HOST | STACK
    assert {found[name]["outcome"] for name in STACK - {"offload"}} == {"ok"}
    assert "ClickHouse" in found["clock"]["found"]
    assert found["offload"]["remedy"]

    medallion("replay", recordings / "kraken_v2_btcusd.jsonl", "--exchange", "kraken", "--data-dir", stack)
    medallion("drain", "--data-dir", stack)
    medallion("offload", "run", "--until-now", "--data-dir", stack)
    found = examine(0)
    assert {found[name]["outcome"] for name in STACK | {"bucket"}} == {"ok"}

    medallion("query", "DROP VIEW latest_prices", "--data-dir", stack)
    found = examine(1)
    assert {name for name, one in found.items() if one["outcome"] == "fail"} == {"migrations"}
    assert "latest_prices missing" in found["migrations"]["found"]
    medallion("ddl", "apply", "--data-dir", stack)
    assert examine(0)["migrations"]["outcome"] == "ok"

    medallion("query", "DROP VIEW latest_prices_live", "--data-dir", stack)
    medallion("query", "SYSTEM REFRESH VIEW latest_prices_mv", "--data-dir", stack)
    medallion("query", "SYSTEM WAIT VIEW latest_prices_mv", "--data-dir", stack, check=False)
    found = examine(1)
    assert {name for name, one in found.items() if one["outcome"] == "fail"} == {"migrations", "prices"}
    assert "latest_prices_live" in found["prices"]["found"]
