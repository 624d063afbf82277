"""Every measurement runs at a tiny size and says what it measured. How fast it was is no matter here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.__main__ import PARTS, main
from bench.pipeline import idle, latency, parts, sustained
from bench.pipeline.journeys import STAGES
from bench.pipeline.runs import LoadError
from bench.plan import QUICK
from bench.series import measure as bars
from bench.stack import Target, our_target

TINY = replace(QUICK, seconds=2.0, lead_s=0.5, warm_up_s=1.0, warm_ups=2, markets=4, settle_s=0.1, idle_s=1.0)


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    with our_target() as running:
        yield running


def test_help_says_what_can_be_measured_alone(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for name, part in PARTS.items():
        assert f"{name:10} {part.about}" in said


def test_an_unknown_part_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["speed"])
    assert ended.value.code == 2
    assert "invalid choice: 'speed'" in capsys.readouterr().err


def test_a_part_that_fails_says_why_and_leaves_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_bench: object) -> None:
        raise LoadError("trades did not arrive")

    monkeypatch.setitem(PARTS, "idle", replace(PARTS["idle"], measure=lambda _bench: {"percent": 3.0}))
    monkeypatch.setitem(PARTS, "latency", replace(PARTS["latency"], measure=fails))
    assert main(["idle", "latency", "--results", str(tmp_path)]) == 1
    assert "latency was not measured: trades did not arrive" in capsys.readouterr().out
    (kept,) = tmp_path.glob("*.json")
    assert json.loads(kept.read_text(encoding="utf-8"))["figures"] == {"idle_percent": 3.0}


# Before the tests that share a stack: it starts a node of its own.
@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_one_command_measures_keeps_and_compares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["rederive", "--quick", "--runs", "1", "--rows", "4000", "--json", "--results"]
    assert main([*argv, str(tmp_path / "before")]) == 0
    printed = json.loads(capsys.readouterr().out)
    (kept,) = (tmp_path / "before").glob("*.json")
    assert json.loads(kept.read_text(encoding="utf-8")) == printed
    assert set(printed["figures"]) == {"rederive_per_s", "rederive_mib"}
    assert printed["rederive"]["rows"] == 4_000
    assert {"chdb-core", "faust-streaming", "librdkafka"} <= set(printed["machine"]["versions"])
    rate = f"{printed['rederive']['rows_per_s']:,.0f}"
    table = kept.with_suffix(".md").read_text(encoding="utf-8")
    assert f"| re-derivation, dry run, rows/s | 78,800 | 250,000 | 500,000 | {rate} |" in table


@pytest.mark.nightly
@pytest.mark.timeout(600)
def test_bars_land_whole_and_beside_inserts_row_by_row() -> None:
    said: list[str] = []
    landed, row_wise = bars.measure(replace(TINY, bars=2_400), said.append)
    assert (landed["kind"], landed["rows"], row_wise["kind"], row_wise["rows"]) == ("answers", 2_400, "row-wise", 12)
    assert row_wise["times_row_wise"] == 1
    assert landed["times_row_wise"] == landed["rows_per_s"] / row_wise["rows_per_s"]
    assert len(said) == 2


@pytest.mark.nightly
@pytest.mark.stack
@pytest.mark.timeout(600)
def test_latency_tells_every_layer_and_leaves_its_parts(target: Target) -> None:
    found = latency.measure(target, 200.0, TINY).to_dict()
    assert [stage["stage"] for stage in found["median"]] == list(STAGES)
    # At most: one run of 2.5 s at 200/s, whose first half second does not count.
    assert 0 < found["runs"][0]["trades"] <= 402
    assert 0 < len(found["warm_up_p50_ms"]) <= 2
    assert {"silver_trades", "trades_raw"} <= {one["table"] for one in found["parts"]}
    json.dumps(found)


@pytest.mark.nightly
@pytest.mark.stack
@pytest.mark.timeout(600)
def test_parts_are_sampled_while_a_load_lasts(target: Target) -> None:
    found = parts.measure(target, TINY, 200.0, 2.0)
    assert 0 < found["trades"] <= 402
    assert found["most"] == max(one["parts"] for one in found["samples"])
    assert {"silver_trades", "trades_raw"} <= {one["table"] for one in found["tables"]}
    json.dumps(found)


@pytest.mark.nightly
@pytest.mark.stack
@pytest.mark.timeout(600)
def test_idle_counts_every_process_of_the_stack(target: Target) -> None:
    found = idle.measure(target, TINY)
    assert {"broker", "clickhouse", "silver-0", "supervisor"} == set(found["processes"])
    assert found["percent"] == pytest.approx(sum(found["processes"].values()))
    assert found["percent"] > 0


@pytest.mark.nightly
@pytest.mark.stack
@pytest.mark.timeout(600)
def test_sustained_tells_rate_and_cpu_without_the_generator(target: Target) -> None:
    found = sustained.measure(target, TINY).to_dict()
    assert found["trades_per_s"] > 0
    run = found["runs"][0]
    stack = [run["processes"][name]["cpu_us_per_trade"] for name in ("broker", "clickhouse", "silver-0")]
    assert run["stack_cpu_us_per_trade"] == pytest.approx(sum(stack))
    assert run["stack_peak_rss_mb"] > 0
