"""docs/sizing.md: its tables are the arithmetic that it says they are, on the figures of docs/benchmarks.md."""

from __future__ import annotations

import math
import re
import statistics
from pathlib import Path

import pytest
import yaml

UTILISED = 0.6
MERGES_OF_A_REPLICA = 2.4


def table(text: str, heading: str) -> list[list[str]]:
    """The cells of the table whose first heading is `heading`, without the two lines above them."""
    lines = text[text.index(f"| {heading} |") :].splitlines()
    end = next((number for number, line in enumerate(lines) if not line.startswith("|")), len(lines))
    return [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines[2:end]]


def number(cell: str) -> float:
    return float(cell.rsplit("=", maxsplit=1)[-1].replace(",", ""))


@pytest.fixture(scope="module")
def page(root: Path) -> str:
    return (root / "docs/sizing.md").read_text()


@pytest.fixture(scope="module")
def costs(page: str) -> dict[str, float]:
    """CPU µs a trade by who pays."""
    found: dict[str, float] = {}
    for _, who, cost in table(page, "stage"):
        found[who] = found.get(who, 0.0) + number(cost)
    return found


def test_costs_are_the_benchmarks(root: Path, costs: dict[str, float]) -> None:
    stages = [row for row in table((root / "docs/benchmarks.md").read_text(), "stage alone (32,768 trades)") if row[3]]
    assert costs.pop("") == pytest.approx(sum(costs.values()))
    assert sum(costs.values()) == pytest.approx(sum(number(row[3]) for row in stages), abs=0.05)


def test_cores_follow_from_costs(page: str, costs: dict[str, float]) -> None:
    rows = table(page, "trades/s")
    assert number(rows[-1][0]) == 1_000_000
    for row in rows:
        rate, *cores = (number(cell) for cell in row)
        by_role = [costs["producer"], costs["ClickHouse"], 2 * MERGES_OF_A_REPLICA, costs["Silver worker"]]
        exact = [rate * cost / 1e6 / UTILISED for cost in by_role]
        for written, wanted in zip(cores, [*exact, sum(exact)], strict=True):
            assert written == pytest.approx(wanted, abs=0.06 if wanted > 0.1 else 0.006)


def test_bytes_follow_from_a_trade(page: str) -> None:
    units = {"GB": 1e9, "TB": 1e12, "MB/s": 1e6}
    sizes = [402.0, 26.2 * 2, 13.9 * 7, 16.3 * 30]
    bytes_table = page[page.index("## Bytes") :]
    for rate, *cells in table(bytes_table, "trades/s"):
        for cell, size, seconds in zip(cells, sizes, [1, 86_400, 86_400, 86_400], strict=True):
            amount, unit = re.fullmatch(r"([\d.,]+) ([A-Z]+(?:/s)?)", cell).groups()  # type: ignore[union-attr]
            assert number(amount) * units[unit] == pytest.approx(number(rate) * size * seconds, rel=0.06), cell


def said(page: str, pattern: str) -> list[float]:
    """The numbers that the groups of `pattern` find, wherever the page breaks its lines."""
    found = re.search(pattern.replace(" ", r"\s+"), page, re.DOTALL)
    assert found, pattern
    return [number(group) for group in found.groups()]


def about(wanted: float) -> object:
    """Equal in the figures of a text: to one tenth."""
    return pytest.approx(wanted, rel=0.1)


def test_what_a_core_carries_follows_from_costs(page: str, costs: dict[str, float]) -> None:
    producer, clickhouse, silver = said(
        page, r"one core carries ([\d,]+) trades/s as a producer, ([\d,]+) as ClickHouse, ([\d,]+) as a Silver worker"
    )
    assert producer == pytest.approx(1e6 / costs["producer"], rel=0.02)
    assert clickhouse == pytest.approx(1e6 / costs["ClickHouse"], rel=0.02)
    assert silver == pytest.approx(1e6 / costs["Silver worker"], rel=0.02)
    # The part of ClickHouse that is the largest market's, in a shard of four cores; and in a Bronze shard.
    assert said(page, r"more than one of each carries: ([\d,]+)/s and ([\d,]+)/s \(4 cores\)") == [
        silver,
        clickhouse * 4,
    ]
    assert said(page, r"([\d,]+) trades/s at most, some ([\d,]+) with the reserve") == [producer, about(producer * 0.6)]


def example(page: str) -> dict[str, dict[str, int]]:
    """The page's values of the chart for a million trades a second."""
    (block,) = re.findall(r"^```yaml\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    values: dict[str, dict[str, int]] = yaml.safe_load(block)
    return values


def test_the_example_has_room_for_its_rate(root: Path, page: str, costs: dict[str, float]) -> None:
    chosen, values = example(page), yaml.safe_load((root / "deploy/cluster/values.yaml").read_text())
    node = int(values["clickhouse"]["resources"]["limits"]["cpu"])
    cores, per_node, shards = said(page, r"(\d+) cores ÷ (\d+) a node = (\d+) shards")
    assert cores == round(costs["ClickHouse"] / UTILISED)
    assert per_node == node
    assert shards == math.ceil(cores / node) <= chosen["clickhouse"]["shards"]
    assert said(page, r"A shard then inserts ([\d,]+) trades/s") == [about(1e6 / chosen["clickhouse"]["shards"])]
    nodes = chosen["clickhouse"]["shards"] * values["clickhouse"]["replicas"]
    assert said(page, r"three replicas each, (\d+) nodes") == [nodes]
    assert chosen["topics"]["rawPartitions"] >= nodes, "a node would have nothing to read"
    assert chosen["silver"]["workers"] >= costs["Silver worker"] / UTILISED
    assert chosen["silver"]["workers"] <= chosen["silver"]["bronzeShards"] == chosen["topics"]["bronzePartitions"]
    assert said(page, r"Partitions: at least one a ClickHouse node; (\d+)") == [chosen["topics"]["rawPartitions"]]
    assert said(page, r"(\d+) workers, (\d+) Bronze shards, (\d+) Bronze partitions") == [
        chosen["silver"]["workers"], chosen["silver"]["bronzeShards"], chosen["topics"]["bronzePartitions"]
    ]  # fmt: skip
    assert "Thirteen processes" in page
    assert math.ceil(costs["producer"] / UTILISED) == 13


def test_partitions_hold_what_the_page_says(root: Path, page: str) -> None:
    topics = yaml.safe_load((root / "deploy/cluster/values.yaml").read_text())["topics"]
    raw, gib = topics["rawPartitions"], topics["partitionGib"]
    assert said(page, r"\(compose: 1, chart: (\d+)\)") == [gib]
    held = raw * gib * 2**30 / 402
    assert said(page, r"at ([\d,]+) trades/s eight partitions of 10 GiB hold (\d+) minutes") == [
        1e5,
        about(held / 1e5 / 60),
    ]
    assert raw == 8
    assert said(page, r"so eight raw partitions hold (\d+) million messages") == [about(held / 1e6)]


def test_the_offload_is_as_fast_as_the_benchmarks(root: Path, page: str) -> None:
    rates = {}
    for line in (root / "docs/benchmarks.md").read_text().splitlines():
        if found := re.match(r"\| \**offload of (Raw|Bronze|Silver)\** \| 2,000,000 \| \**([\d,]+)\** \|", line):
            rates[found[1]] = number(found[2])
    assert said(page, r"an hour is ([\d.]+) billion trades") == [3.6]
    minutes = [3.6e9 / rates[layer] / 60 for layer in ("Raw", "Bronze", "Silver")]
    assert said(page, r"(\d+) minutes of Raw, (\d+) of Bronze and (\d+) of Silver, one after the other (\d+)") == [
        pytest.approx(exact, abs=0.5) for exact in (*minutes, sum(minutes))
    ]
    assert said(page, r"some ([\d,]+)/s it does") == [about(1e6 * 60 / sum(minutes))]
    assert said(page, r"side by side, does some ([\d,]+)/s") == [about(1e6 * 60 / max(minutes))]


def test_a_month_follows_from_costs(root: Path, page: str, costs: dict[str, float]) -> None:
    cost, seconds, rows = said(page, r"pays (\d+) µs of CPU a trade: ([\d.]+) s for the ([\d,]+) rows")
    assert cost == seconds / rows * 1e6
    (rate,) = said(page, r"That is ([\d,]+) trades/s a core")
    assert rate == 1e6 / cost
    clickhouse, silver = said(page, r"costs ClickHouse ([\d.]+) µs and Silver ([\d.]+) µs")
    assert [clickhouse, silver] == [pytest.approx(costs["ClickHouse"]), pytest.approx(costs["Silver worker"])]
    units = {"million": 1e6, "billion": 1e9, "GB": 1e9, "TB": 1e12}
    rows_of_table = table(page, "trades of the month")
    assert len(rows_of_table) == 3
    for trades, *hours, kafka in rows_of_table:
        count = number(trades.split()[0]) * units[trades.split()[1]]
        for written, each in zip(hours, (cost, clickhouse, silver), strict=True):
            exact = count * each / 1e6 / 3600
            assert number(written) == pytest.approx(exact, abs=0.06 if exact < 10 else 0.5)
        amount, unit = kafka.split()
        assert number(amount) * units[unit] == pytest.approx(count * 402, rel=0.01)

    values = yaml.safe_load((root / "deploy/cluster/values.yaml").read_text())
    cores, follows, pods = said(page, r"have (\d+) cores: ([\d,]+) trades/s, (\d+) pods")
    assert cores == values["clickhouse"]["shards"] * int(values["clickhouse"]["resources"]["limits"]["cpu"])
    (carries,) = said(page, r"ClickHouse's cores . ([\d,]+) . 0.6 ÷ 50,000")
    assert follows == cores * carries * UTILISED
    assert pods == round(follows / rate) == values["days"]["parallelism"]
    assert "a billion trades in an hour and a half" in page
    assert 1e9 / follows / 3600 == about(1.5)


def test_a_dry_run_is_as_fast_as_the_benchmarks(root: Path, page: str) -> None:
    rows, seconds, rate = said(
        page, r"([\d,]+) rows with nothing to change take (\d+) s of CPU .*? ([\d,]+) rows/s a core"
    )
    measured = table((root / "docs/benchmarks.md").read_text(), "dry run, nothing to change")[1]
    assert seconds == round(statistics.mean(number(one) for one in measured[2].split(", ")))
    assert rate == about(rows / seconds)
