"""Prometheus and Alertmanager with compose's own files over a running stack; only the targets are rewritten."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from deploy.embedded.layout import DataDir
from deploy.embedded.ports import free_ports
from tests.alertmanager import Desk, alertmanager, find, running
from tests.deploy.conftest import ROOT
from tests.offload.servers.maven import MissingError
from tests.stack.conftest import Medallion, clean_environment

pytestmark = [pytest.mark.deploy_real, pytest.mark.nightly, pytest.mark.stack, pytest.mark.timeout(1200)]
COMPOSE = ROOT / "deploy/compose/prometheus"
# What nothing here stands in for: no target of theirs.
ABSENT = {"clickhouse", "object-store", "catalog"}


@dataclass
class Watched:
    """A Prometheus over a stack with a live producer; `desk` is whom alerts reach."""

    prometheus: str
    desk: Desk
    stack: Path
    serving: str

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of Prometheus' API."""
        answer = requests.get(f"{self.prometheus}/api/v1/{path}", params=parameters, timeout=10)
        answer.raise_for_status()
        return answer.json()["data"]


def eventually(seconds: float, check: Callable[[], None]) -> None:
    for attempt in Retrying(
        retry=retry_if_exception_type((AssertionError, OSError)),
        stop=stop_after_delay(seconds),
        wait=wait_fixed(1),
        reraise=True,
    ):
        with attempt:
            check()


def rewritten(addresses: dict[str, str]) -> dict[str, Any]:
    """Compose's file: each job's targets are where the job's service is here, everything else is as it was."""
    document: dict[str, Any] = yaml.safe_load((COMPOSE / "prometheus.yml").read_text())
    document["rule_files"] = [str(COMPOSE / name) for name in document["rule_files"]]
    document["alerting"]["alertmanagers"] = [{"static_configs": [{"targets": [addresses["alertmanager"]]}]}]
    assert {job["job_name"] for job in document["scrape_configs"]} == set(addresses) | ABSENT
    for job in document["scrape_configs"]:
        job.pop("dns_sd_configs", None)
        targets = [] if job["job_name"] in ABSENT else [addresses[job["job_name"]]]
        job["static_configs"] = [{"targets": targets}]
    return document


@pytest.fixture(scope="module")
def watched(
    medallion: Medallion,
    state_home: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Watched]:
    try:
        find("alertmanager")
        program = find("prometheus")
    except MissingError as error:
        pytest.skip(str(error))
    folder, desk = tmp_path_factory.mktemp("watched"), Desk()
    data = folder / "stack"
    metrics, nobody, port = free_ports(3)
    with ExitStack() as stack:
        stack.callback(medallion, "down", "--data-dir", data, "--timeout", "0", check=False)
        medallion("up", "--data-dir", data, "--detach", "--offload", "--serve", "--schedules")
        state = DataDir(data).read()
        assert state is not None
        shown = {
            service.name: service.metrics_url.removeprefix("http://").removesuffix("/metrics")
            for service in state.services
        }
        environment = clean_environment(state_home)

        def start(name: str, *command: str, metrics: int = 0) -> None:
            log = stack.enter_context((folder / name).open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env={**environment, "MEDALLION_METRICS_PORT": str(metrics)},
                stdout=log,
                stderr=log,
            )
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)

        address = folder / "simulator"
        walk = ("--walk", "kraken=BTC/USD", "--walk-rate", "20", "--wait-for-subscribers")
        start("simulator.log", "producers.simulator", *walk, "--state", str(address))
        eventually(60, lambda: _there(address))
        endpoint = f"ws://{address.read_text().strip()}/kraken"
        produce = ("produce", "--exchange", "kraken", "--symbols", "BTC/USD", "--endpoint", endpoint)
        start("producer.log", "cli", *produce, "--data-dir", str(data), metrics=metrics)
        webhook = stack.enter_context(desk.listening())
        alerts = stack.enter_context(
            alertmanager(folder / "alertmanager", ALERT_RECEIVER="webhook", ALERT_WEBHOOK_URL=webhook)
        )
        file = folder / "prometheus.yml"
        file.write_text(
            yaml.safe_dump(
                rewritten(
                    {
                        "producers": f"127.0.0.1:{metrics}",
                        "silver": shown["silver-0"],
                        "offload": shown["offload"],
                        "serving": shown["serving"],
                        "schedules": shown["schedules"],
                        "redpanda": f"127.0.0.1:{nobody}",
                        "prometheus": f"127.0.0.1:{port}",
                        "alertmanager": alerts.removeprefix("http://"),
                    }
                )
            )
        )
        command = [program, f"--config.file={file}", f"--storage.tsdb.path={folder / 'tsdb'}"]
        prometheus = stack.enter_context(running(command, port, folder / "prometheus.log"))
        yield Watched(prometheus, desk, data, f"http://{shown['serving']}")


def _there(path: Path) -> None:
    assert path.is_file()


def test_every_service_is_scraped_and_every_rule_is_evaluated(watched: Watched) -> None:
    def scraped() -> None:
        targets = watched.ask("targets", state="active")["activeTargets"]
        health = {target["labels"]["job"]: target["health"] for target in targets}
        up = ("producers", "silver", "offload", "serving", "schedules", "prometheus", "alertmanager")
        assert health == {**dict.fromkeys(up, "up"), "redpanda": "down"}

    eventually(120, scraped)
    written = yaml.safe_load((COMPOSE / "rules/medallion.yml").read_text())["groups"]

    def evaluated() -> None:
        groups = watched.ask("rules")["groups"]
        assert {group["name"] for group in groups} == {group["name"] for group in written}
        rules = [rule for group in groups for rule in group["rules"]]
        assert len(rules) == sum(len(group["rules"]) for group in written)
        assert {rule["health"] for rule in rules} == {"ok"}, [rule.get("lastError") for rule in rules]

    eventually(120, evaluated)


def test_what_is_recorded_has_values(watched: Watched) -> None:
    """Of a stack whose trades are asked for; the numbers of messages that Redpanda alone shows have none."""
    recorded = {
        rule["record"]
        for group in yaml.safe_load((COMPOSE / "rules/medallion.yml").read_text())["groups"]
        for rule in group["rules"]
        if "record" in rule
    }
    # Once an hour of this stack is closed, and the offload has run after it: a test begins at any minute.
    later = {"medallion:consumer_lag:messages", "medallion:completeness:ratio1h", "medallion:gate_held:partitions"}

    def valued() -> None:
        answer = requests.get(f"{watched.serving}/kraken/api/v3/ticker/price", timeout=10)
        answer.raise_for_status()
        assert {name for name in recorded - later if not watched.ask("query", query=name)["result"]} == set()

    eventually(180, valued)


def test_dashboards_ask_what_prometheus_understands(watched: Watched) -> None:
    asked = 0
    for board in sorted((ROOT / "deploy/compose/grafana/dashboards").glob("*.json")):
        for panel in json.loads(board.read_text())["panels"]:
            for target in panel.get("targets", []):
                if "expr" in target:
                    query = target["expr"].replace("$__rate_interval", "1m").replace("$__range", "1h")
                    watched.ask("query", query=query)
                    asked += 1
    assert asked


def test_an_alert_reaches_the_desk_and_nothing_else_does(watched: Watched) -> None:
    """Two minutes of a broker that does not answer, by compose's own waits. What works sends no alert."""

    def fired() -> None:
        assert watched.desk.alerts

    eventually(300, fired)
    (alert,) = watched.desk.alerts
    assert alert["status"] == "firing"
    assert (alert["labels"]["alertname"], alert["labels"]["job"]) == ("TargetDown", "redpanda")
    assert alert["labels"]["severity"] == "critical"
    assert alert["annotations"]["runbook"] == "docs/runbooks/alerts.md#service-down"
    assert "redpanda at 127.0.0.1" in alert["annotations"]["summary"]
    firing = [alert for alert in watched.ask("alerts")["alerts"] if alert["state"] == "firing"]
    assert {alert["labels"]["alertname"] for alert in firing} == {"TargetDown"}


def test_smoke_finds_prometheus(watched: Watched, medallion: Medallion) -> None:
    done = medallion(
        "smoke", "--json", "--timeout", "60", "--data-dir", watched.stack,
        settings={"MEDALLION_PROMETHEUS_URL": watched.prometheus},
    )  # fmt: skip
    (metrics,) = (check for check in json.loads(done.stdout) if check["name"] == "metrics")
    assert metrics["outcome"] == "ok"
    assert "up: alertmanager, offload, producers, prometheus, schedules, serving, silver" in metrics["detail"]
