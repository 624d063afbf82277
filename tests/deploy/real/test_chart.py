"""The chart by Helm itself: the committed manifests are its output, and its values reach them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.conftest import ROOT
from tests.deploy.test_cluster import of_kind

pytestmark = [pytest.mark.deploy_real, pytest.mark.nightly, pytest.mark.timeout(7200)]
CHART = "deploy/cluster"
Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def helm(helm_program: Path) -> Helm:
    """Runs Helm over the chart, with values."""

    def run(*words: str, values: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
        chosen = [part for value in values for part in ("--set", value)]
        return subprocess.run(
            [helm_program, *words, CHART, *chosen], cwd=ROOT, capture_output=True, text=True, check=False
        )

    return run


def rendered(helm: Helm, *values: str) -> str:
    """The manifests with these values, each one valid."""
    done = helm("template", "medallion", values=values)
    assert done.returncode == 0, done.stderr
    for one in yaml.safe_load_all(done.stdout):
        if one:
            kubernetes_validate.validate(one, "1.33", strict=True)
    return done.stdout


def refused(helm: Helm, *values: str) -> str:
    """What Helm says as it refuses these values."""
    done = helm("template", "medallion", values=values)
    assert done.returncode != 0
    return done.stderr


def test_the_committed_manifests_are_what_the_chart_renders(helm: Helm) -> None:
    assert rendered(helm) == (ROOT / CHART / "rendered.yaml").read_text(), "run `make cluster`"
    linted = helm("lint", "--strict")
    assert linted.returncode == 0, linted.stdout


def test_other_sizes_render(helm: Helm) -> None:
    sizes = "clickhouse.shards=16,clickhouse.replicas=3,silver.workers=32,redpanda.brokers=5,networkPolicies=false"
    found = [one for one in yaml.safe_load_all(rendered(helm, sizes, "clickhouse.storageClass=fast")) if one]
    assert len([name for name in of_kind(found, "StatefulSet") if "clickhouse" in name]) == 16
    assert not of_kind(found, "NetworkPolicy")


def test_a_million_trades_a_second_render(a_million_a_second: list[dict[str, Any]]) -> None:
    """Every value of docs/sizing.md's example reaches the manifests, each of which is valid."""
    for one in a_million_a_second:
        kubernetes_validate.validate(one, "1.33", strict=True)
    sets = {name: one for name, one in of_kind(a_million_a_second, "StatefulSet").items() if "clickhouse" in name}
    assert {one["spec"]["replicas"] for one in sets.values()} == {3}
    assert len(sets) == 12
    assert of_kind(a_million_a_second, "Deployment")["medallion-silver"]["spec"]["replicas"] == 8
    settings = of_kind(a_million_a_second, "ConfigMap")["medallion-settings"]["data"]
    assert settings["MEDALLION_BRONZE_SHARDS"] == "32"
    (nodes,) = (one["data"]["cluster.xml"] for one in a_million_a_second if "cluster.xml" in one.get("data", {}))
    assert nodes.count("<replica><host>") == 36
    (topics,) = (one for name, one in of_kind(a_million_a_second, "Job").items() if "topics" in name)
    told = {one["name"]: one.get("value") for one in topics["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert (told["RAW_PARTITIONS"], told["BRONZE_PARTITIONS"]) == ("64", "32")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ("symbols=mine", "configMap: {name: mine}"),
        ("symbols=mine", "MEDALLION_SYMBOLS_FILE: /etc/medallion/symbols.yaml"),
        ("schedules.file=mine", "configMap: {name: mine}"),
        ("schedules.file=mine", "{name: MEDALLION_SCHEDULES_FILE, value: /etc/schedules/schedules.yaml}"),
        ("serviceAccount=bucket-reader", "serviceAccountName: bucket-reader"),
        ("catalog.tokenKey=CATALOG_TOKEN", "{name: medallion, key: CATALOG_TOKEN}"),
        ("settings.MEDALLION_LOG_LEVEL=DEBUG", 'MEDALLION_LOG_LEVEL: "DEBUG"'),
        ("catalog.egressPorts={8181}", "- {port: 8181}"),
        ("clientNamespaces={grafana}", "kubernetes.io/metadata.name: grafana"),
    ],
)
def test_a_value_reaches_the_manifests(helm: Helm, values: str, said: str) -> None:
    assert said in rendered(helm, values)


def test_two_replicas_are_refused(helm: Helm) -> None:
    assert "one restart stops the shard" in refused(helm, "clickhouse.replicas=2")


def test_two_pods_of_schedules_are_refused_and_none_is_possible(helm: Helm) -> None:
    assert "two would run everything twice" in refused(helm, "schedules.replicas=2")
    none = [one for one in yaml.safe_load_all(rendered(helm, "schedules.replicas=0")) if one]
    for kind in ("Deployment", "PersistentVolumeClaim"):
        assert "medallion-schedules" not in of_kind(none, kind)
