"""Invariant: the dashboards' files are what the code makes, and every query of every panel works."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from config.settings import Settings
from ddl.runner import apply
from deploy.compose.grafana.__main__ import FOLDER, files
from deploy.compose.grafana.boards import BOARDS
from deploy.compose.grafana.model import WIDTH
from tests.ddl.conftest import core
from tests.ddl.engine import Engine
from tests.deploy.test_alerts import RULES, exported_metrics

# What other programs export, as their alerts use them already.
FOREIGN = re.compile(r"\b(?:ALERTS|ClickHouse\w+|redpanda_\w+)\b")
TIME_FILTER = re.compile(r"\$__timeFilter\((\w+)\)")


def panels() -> list[tuple[str, dict[str, Any]]]:
    return [(name, panel) for name in BOARDS for panel in json.loads((FOLDER / f"{name}.json").read_text())["panels"]]


def targets(kind: str) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{name}: {panel['title']}", target)
        for name, panel in panels()
        for target in panel["targets"]
        if target["datasource"]["type"] == kind
    ]


def expressions() -> dict[str, str]:
    """Where each PromQL expression is, with Grafana's interval filled in."""
    return {
        f"{where} {target['refId']}": target["expr"].replace("$__rate_interval", "5m")
        for where, target in targets("prometheus")
    }


@pytest.fixture(scope="module")
def recorded(root: Path) -> set[str]:
    groups = yaml.safe_load((root / RULES).read_text())["groups"]
    return {rule["record"] for group in groups for rule in group["rules"] if "record" in rule}


def test_the_files_are_what_the_code_makes() -> None:
    assert {path.name: path.read_text() for path in FOLDER.glob("*.json")} == files()


def test_every_series_is_exported_or_recorded(root: Path, recorded: set[str]) -> None:
    rules = (root / RULES).read_text()
    exported = exported_metrics()
    found = set()
    for where, expression in expressions().items():
        for name in re.findall(r"\bmedallion_\w+", expression):
            assert name in exported, f"{where}: {name}"
            found.add(name)
        for name in re.findall(r"\bmedallion:[\w:]+", expression):
            assert name in recorded, f"{where}: {name}"
        for name in FOREIGN.findall(expression):
            assert name == "ALERTS" or name in rules, f"{where}: {name}"
        assert re.search(r"medallion[_:]|ALERTS|ClickHouse|redpanda", expression), where
    assert len(found) > 20


def test_every_objective_is_on_a_dashboard(recorded: set[str]) -> None:
    shown = {name for expression in expressions().values() for name in re.findall(r"\bmedallion:[\w:]+", expression)}
    assert shown == recorded


def test_promql_is_valid(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(expressions().values())]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The migrations in the database that the data source names; no dashboard reads the series'."""
    with Engine(tmp_path_factory.mktemp("engine")) as started:
        apply(started, Settings(), core(Settings()))
        started.execute(f"USE {Settings().clickhouse_database}")
        yield started


def test_every_query_runs_on_the_engine(engine: Engine) -> None:
    queries = targets("grafana-clickhouse-datasource")
    assert len(queries) > 5
    for where, target in queries:
        # As the plugin fills it in.
        sql = TIME_FILTER.sub(r"\1 >= toDateTime(1760000000) AND \1 <= toDateTime(1760003600)", target["rawSql"])
        assert "$" not in sql, where
        engine.query(sql, "JSON")


def test_data_sources_are_provisioned(root: Path) -> None:
    found = yaml.safe_load((root / "deploy/compose/grafana/datasources/medallion.yml").read_text())["datasources"]
    provisioned = {(source["type"], source["uid"]) for source in found}
    used = set()
    for _, panel in panels():
        for source in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            used.add((source["type"], source["uid"]))
    assert used == provisioned


def test_panels_are_whole_and_do_not_overlap() -> None:
    boards: dict[str, list[dict[str, Any]]] = {}
    for name, panel in panels():
        boards.setdefault(name, []).append(panel)
    assert len({board.uid for board in BOARDS.values()}) == len(boards) == 5
    for name, on_it in boards.items():
        assert len({panel["id"] for panel in on_it}) == len(on_it)
        taken: set[tuple[int, int]] = set()
        for panel in on_it:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert max(x for x, _ in cells) < WIDTH
            assert not taken & cells, f"{name}: {panel['title']}"
            taken |= cells
            assert panel["targets"], panel["title"]


def test_grafana_is_given_the_dashboards(root: Path, services: dict[str, Any]) -> None:
    mounts = {
        target: source
        for source, target, _ in (
            volume.split(":") for volume in services["grafana"]["volumes"] if volume.startswith("./")
        )
    }
    provider_file = mounts["/etc/grafana/provisioning/dashboards/medallion.yml"]
    (provider,) = yaml.safe_load((root / provider_file).read_text())["providers"]
    assert root / mounts[provider["options"]["path"]] == FOLDER
