"""docs/sizing.md: its tables are the arithmetic that it says they are, on the figures of docs/benchmarks.md."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
