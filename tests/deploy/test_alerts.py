"""Prometheus, Alertmanager and Grafana: their own checkers, and what those cannot know."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

import producers.metrics  # noqa: F401 - registers the producers' metrics
import serving.metrics  # noqa: F401 - registers the page's
from config.process.disk_metrics import DiskMetrics
from config.settings import Settings
from offload.metrics import OffloadMetrics
from offload.proof.completeness import Completeness
from series.schedules.service import ScheduleMetrics
from silver_processor.metrics import SilverMetrics
from tests.alertmanager import alertmanager_file
from tests.deploy.conftest import load_compose

RULES = "deploy/compose/prometheus/rules/medallion.yml"
RUNBOOK = "docs/runbooks/alerts.md"
UNIT_TESTS = "tests/deploy/alerts.test.yml"


def tool(name: str, *arguments: str, root: Path) -> None:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: prometheus, prometheus-alertmanager)")
    # Go collects its garbage less often: a fifth less of promtool's CPU, for 60 MB more.
    environment = os.environ | {"GOGC": "400"}
    result = subprocess.run([path, *arguments], check=False, cwd=root, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.fixture(scope="module")
def rules(root: Path) -> list[dict[str, Any]]:
    groups = yaml.safe_load((root / RULES).read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.fixture(scope="module")
def scraped(root: Path) -> list[dict[str, Any]]:
    jobs: list[dict[str, Any]] = yaml.safe_load((root / "deploy/compose/prometheus/prometheus.yml").read_text())[
        "scrape_configs"
    ]
    return jobs


def test_prometheus_accepts_its_files(root: Path) -> None:
    tool("promtool", "check", "config", "deploy/compose/prometheus/prometheus.yml", root=root)


@pytest.mark.parametrize("receiver", ["nobody", "webhook", "slack", "email"])
def test_alertmanager_accepts_its_file(root: Path, tmp_path: Path, receiver: str) -> None:
    file = tmp_path / "alertmanager.yml"
    file.write_text(alertmanager_file(ALERT_RECEIVER=receiver))
    tool("amtool", "check-config", str(file), root=root)


def test_one_setting_says_whom_alerts_reach() -> None:
    for receiver, way in (("webhook", "url"), ("slack", "api_url"), ("email", "to")):
        name = {"webhook": "ALERT_WEBHOOK_URL", "slack": "ALERT_SLACK_URL", "email": "ALERT_EMAIL_TO"}[receiver]
        document = yaml.safe_load(alertmanager_file(ALERT_RECEIVER=receiver, **{name: "https://desk.example/x"}))
        assert document["route"]["receiver"] == receiver
        (chosen,) = (one for one in document["receivers"] if one["name"] == receiver)
        assert chosen[f"{receiver}_configs"][0][way] == "https://desk.example/x"
    document = yaml.safe_load(alertmanager_file())
    assert [list(one) for one in document["receivers"] if one["name"] == document["route"]["receiver"]] == [["name"]]


def test_alerts_fire_and_stay_silent(root: Path) -> None:
    tool("promtool", "test", "rules", UNIT_TESTS, root=root)


def test_every_alert_has_a_case_that_fires_and_one_that_does_not(root: Path, rules: list[dict[str, Any]]) -> None:
    cases = yaml.safe_load((root / UNIT_TESTS).read_text())["tests"]
    seen = {(case["alertname"], bool(case["exp_alerts"])) for test in cases for case in test.get("alert_rule_test", [])}
    for alert in (rule["alert"] for rule in rules if "alert" in rule):
        assert {(alert, True), (alert, False)} <= seen, alert


def test_every_alert_says_what_to_do(root: Path, rules: list[dict[str, Any]]) -> None:
    runbook = (root / RUNBOOK).read_text()
    sections = {anchor_of(title): body for title, body in sections_of(runbook)}
    for rule in rules:
        if "alert" in rule:
            assert rule["labels"]["severity"] in {"warning", "critical"}, rule["alert"]
            assert len(rule["annotations"]["action"]) > 20, rule["alert"]
            file, _, anchor = rule["annotations"]["runbook"].partition("#")
            assert file == RUNBOOK
            assert anchor in sections, f"{rule['alert']}: no section {anchor}"
            assert f"`{rule['alert']}`" in sections[anchor], f"the section {anchor} does not name {rule['alert']}"
            assert "```" in sections[anchor] or anchor == "trades-late", f"{anchor} shows no command"


def sections_of(markdown: str) -> list[tuple[str, str]]:
    """Headings of the second level and what is below them."""
    parts = re.split(r"^## (.*)$", markdown, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def anchor_of(title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def exported_metrics() -> set[str]:
    """The names of all samples our services show."""
    offload = OffloadMetrics().registry
    Completeness([], offload)
    offload.register(DiskMetrics({"warehouse": Path("/")}))
    return {
        sample
        for registry in (REGISTRY, SilverMetrics().registry, ScheduleMetrics().registry, offload)
        for family in registry.collect()
        for sample in (family.name, *(f"{family.name}_{end}" for end in ("total", "bucket", "count", "sum")))
    }


def test_rules_use_metrics_that_are_exported(rules: list[dict[str, Any]]) -> None:
    exported = exported_metrics()
    used = {name for rule in rules for name in re.findall(r"\bmedallion_\w+", rule["expr"])}
    assert used
    assert used <= exported


def test_rules_use_the_groups_topics_and_jobs_that_exist(
    rules: list[dict[str, Any]], scraped: list[dict[str, Any]]
) -> None:
    expressions = " ".join(rule["expr"] for rule in rules)
    settings = Settings()
    groups = set(re.findall(r'redpanda_group="([^"]+)"', expressions))
    assert groups == {settings.raw_consumer_group, settings.silver_consumer_group}
    jobs = {name for pattern in re.findall(r'job[!=]~?"([^"]+)"', expressions) for name in pattern.split("|")}
    assert jobs <= {job["job_name"] for job in scraped}


def test_recorded_series_are_recorded(rules: list[dict[str, Any]]) -> None:
    recorded = {rule["record"] for rule in rules if "record" in rule}
    used = {name for rule in rules for name in re.findall(r"\bmedallion:[\w:]+", rule["expr"])}
    assert used <= recorded


def test_prometheus_looks_where_services_listen(scraped: list[dict[str, Any]], services: dict[str, Any]) -> None:
    """Each of our services with a metrics port is a target at that port, and no target names a service that is not."""
    targets = set()
    for job in scraped:
        for discovery in job.get("dns_sd_configs", []):
            targets |= {(name, discovery["port"]) for name in discovery["names"]}
        for static in job.get("static_configs", []):
            for target in static["targets"]:
                host, port = target.split(":")
                targets.add(("prometheus" if host == "127.0.0.1" else host, int(port)))
    added = {"producer-ccxt"}
    assert added == set(load_compose("docker-compose.ccxt.yml")["services"])
    assert {host for host, _ in targets} <= set(services) | added
    for name, service in services.items():
        port = (service.get("environment") or {}).get("MEDALLION_METRICS_PORT")
        if port:
            network = service.get("network_mode", "").removeprefix("service:") or name
            assert (network, int(port)) in targets, name
            assert service["environment"]["MEDALLION_METRICS_HOST"] == "0.0.0.0"


def test_grafana_reads_as_the_analyst(root: Path, services: dict[str, Any]) -> None:
    found = yaml.safe_load((root / "deploy/compose/grafana/datasources/medallion.yml").read_text())["datasources"]
    sources = {source["type"]: source for source in found}
    assert set(sources) == {"prometheus", "grafana-clickhouse-datasource"}
    clickhouse = sources["grafana-clickhouse-datasource"]
    assert clickhouse["jsonData"]["username"] == "analyst"
    variable = clickhouse["secureJsonData"]["password"].removeprefix("$")
    assert variable in services["grafana"]["environment"]
    image = (root / "deploy/compose/grafana/Dockerfile").read_text()
    assert re.search(rf"plugins install {clickhouse['type']} \d+\.\d+\.\d+$", image, re.MULTILINE)
