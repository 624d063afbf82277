"""The stack's own fixtures, for parts that are held against a running one; and Helm, with a Job of a month by it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import ROOT
from tests.deploy.test_sizing import example
from tests.go_programs import program
from tests.offload.servers.maven import MissingError
from tests.stack.conftest import kafka, medallion, state_home

__all__ = ["kafka", "medallion", "state_home"]
COMMANDS = {
    "backfill": ["backfill", "--exchange", "binance", "--symbols", "BTCUSDT,ETHUSDT"],
    "rederive": ["rederive", "--exchange", "binance"],
}
Render = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def helm_program() -> Path:
    """Helm, built if it never was."""
    try:
        return program(Path(__file__).parent / "helm", "helm.sh/helm/v3/cmd/helm")
    except MissingError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def a_million_a_second(helm_program: Path) -> list[dict[str, Any]]:
    """The chart with the values that docs/sizing.md has for a million trades a second."""
    done = subprocess.run(
        [helm_program, "template", "medallion", "deploy/cluster", "--values", "-"],
        input=yaml.safe_dump(example((ROOT / "docs/sizing.md").read_text())),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [one for one in yaml.safe_load_all(done.stdout) if one]


@pytest.fixture(scope="session")
def render_days(helm_program: Path) -> Render:
    """Renders the Job of many days with these values, as README.md says."""

    def run(*values: str) -> subprocess.CompletedProcess[str]:
        chosen = [part for value in values for part in ("--set", value)]
        command = [helm_program, "template", "medallion", "deploy/cluster", "--show-only", "templates/days.yaml"]
        return subprocess.run([*command, *chosen], cwd=ROOT, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session", params=COMMANDS)
def month(request: pytest.FixtureRequest, render_days: Render) -> dict[str, Any]:
    """A back-fill of October 2026, and its re-derivation."""
    words = ",".join(word.replace(",", "\\,") for word in COMMANDS[request.param])
    done = render_days("days.first=2026-10-01", "days.count=31", f"days.command={{{words}}}")
    assert done.returncode == 0, done.stderr
    manifest: dict[str, Any] = yaml.safe_load(done.stdout)
    return manifest
