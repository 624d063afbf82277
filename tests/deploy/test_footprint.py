"""A process fits its container: what its program's imports and buffers cost, against the limit in the compose file."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.deploy.conftest import load_compose

# Pages of files (shared libraries) are left out: the kernel takes them back before it kills anybody.
PROBE = """
import importlib, sys
for module in sys.argv[1:]:
    importlib.import_module(module)
with open("/proc/self/status") as status:
    print(next(line.split()[1] for line in status if line.startswith("RssAnon:")))
"""
MIB = 1024**2


@pytest.mark.parametrize(
    ("service", "modules", "grows"),
    [
        # The publisher's buffer, full when the broker is away.
        ("producer-binance", ["cli.main", "cli.messages.feed"], 64 * MIB),
        ("silver-processor", ["silver_processor.__main__"], 200 * MIB),
        ("offload", ["cli.main", "cli.cold.offload"], 100 * MIB),
        # A day of bars, and the trades of the windows that differ. Those above have the shared imports, too.
        pytest.param("schedules", ["cli.main", "cli.messages.schedule"], 150 * MIB, marks=pytest.mark.nightly),
        pytest.param("lakehouse-init", ["deploy.compose.lakehouse"], 50 * MIB, marks=pytest.mark.nightly),
    ],
)
def test_programs_fit_their_limit(services: dict[str, Any], service: str, modules: list[str], grows: int) -> None:
    assert_fits(services[service], modules, grows)


def test_a_producer_through_ccxt_fits_its_limit() -> None:
    """The buffer, and 30 MB for a list of 3,000 markets while it is read."""
    service = load_compose("docker-compose.ccxt.yml")["services"]["producer-ccxt"]
    assert_fits(
        service, ["cli.main", "cli.messages.feed", "producers.ccxt.feed", "ccxt.pro.gate"], 64 * MIB + 30_000_000
    )


def assert_fits(service: dict[str, Any], modules: list[str], grows: int) -> None:
    command = [sys.executable, "-c", PROBE, *modules]
    resident = 1024 * int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    limit = int(service["deploy"]["resources"]["limits"]["memory"].removesuffix("M")) * MIB
    assert resident + grows < limit, f"{resident / 1e6:.0f} MB at rest, {grows / 1e6:.0f} more, limit {limit / 1e6:.0f}"
