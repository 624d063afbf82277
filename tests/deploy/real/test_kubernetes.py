"""The chart against Kubernetes' own API server: what it renders is taken, upgraded, and grown."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.conftest import ROOT
from tests.deploy.real import kubernetes
from tests.deploy.real.kubernetes import Cluster
from tests.offload.servers.maven import MissingError
from tests.releases import extracted

pytestmark = [pytest.mark.deploy_real, pytest.mark.nightly, pytest.mark.timeout(7200)]
CLAIMS = "/api/v1/namespaces/{}/persistentvolumeclaims"
SETS = "/apis/apps/v1/namespaces/{}/statefulsets"
MERGE = {"Content-Type": "application/merge-patch+json"}
Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    try:
        kubernetes.find()
    except MissingError as error:
        pytest.skip(str(error))
    with kubernetes.cluster(tmp_path_factory.mktemp("kubernetes")) as running:
        yield running


@pytest.fixture(scope="module")
def helm(cluster: Cluster, helm_program: Path) -> Helm:
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig), "HELM_CACHE_HOME": str(cluster.folder)}

    def run(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [helm_program, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert not check or done.returncode == 0, done.stderr
        return done

    return run


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> str:
    """One of the test's own, which says of every pod that breaks Kubernetes' strictest rules."""
    name = re.sub("[^a-z0-9]+", "-", str(request.node.name)).strip("-")
    labels = {"pod-security.kubernetes.io/warn": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    cluster.ask("POST", "/api/v1/namespaces", body).raise_for_status()
    return name


@pytest.fixture(scope="module")
def last_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chart of the version of `pyproject.toml`, as it was released."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    return extracted(version, tmp_path_factory.mktemp("release")) / "deploy" / "cluster"


def test_the_server_takes_every_object_and_warns_of_none(cluster: Cluster, namespace: str) -> None:
    """`kubectl apply --dry-run=server` of the committed rendering."""
    manifests = [one for one in yaml.safe_load_all((ROOT / "deploy/cluster/rendered.yaml").read_text()) if one]
    assert len(manifests) > 30
    assert_taken(cluster, namespace, manifests)


def test_the_server_takes_a_million_trades_a_second(
    cluster: Cluster, namespace: str, a_million_a_second: list[dict[str, Any]]
) -> None:
    assert_taken(cluster, namespace, a_million_a_second)


def assert_taken(cluster: Cluster, namespace: str, manifests: list[dict[str, Any]]) -> None:
    """By a dry run, which keeps nothing, and without a warning."""
    for manifest in manifests:
        answer = cluster.apply(manifest, namespace, dry_run=True)
        name = f"{manifest['kind']} {manifest['metadata']['name']}"
        assert answer.status_code in {200, 201}, f"{name}: {answer.text}"
        assert "Warning" not in answer.headers, f"{name}: {answer.headers['Warning']}"
    assert cluster.ask("GET", SETS.format(namespace)).json()["items"] == [], "a dry run keeps nothing"


def test_the_server_takes_a_month_of_days(cluster: Cluster, namespace: str, month: dict[str, Any]) -> None:
    answer = cluster.ask(
        "POST", cluster.path(month, namespace), month, params={"dryRun": "All", "fieldValidation": "Strict"}
    )
    assert answer.status_code == 201, answer.text
    assert "Warning" not in answer.headers, answer.headers["Warning"]


def test_a_field_that_kubernetes_does_not_know_is_refused(cluster: Cluster, namespace: str) -> None:
    """What makes the test above one."""
    wrong = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "wrong"}, "date": {}}
    answer = cluster.apply(wrong, namespace, dry_run=True)
    assert not answer.ok
    assert "date" in answer.text


def test_the_last_release_is_upgraded(helm: Helm, namespace: str, last_release: Path) -> None:
    helm("install", "medallion", last_release, "--namespace", namespace)
    helm("upgrade", "medallion", "deploy/cluster", "--namespace", namespace)
    # And once more, with other values of what may change.
    sizes = "clickhouse.replicas=5,silver.workers=8,images.medallion=registry.example.com/medallion:0.3.0"
    helm("upgrade", "medallion", "deploy/cluster", "--namespace", namespace, "--set", sizes)


@pytest.mark.parametrize("component", ["clickhouse", "keeper", "redpanda"])
def test_disks_grow_by_the_steps_of_the_readme(cluster: Cluster, helm: Helm, namespace: str, component: str) -> None:
    upgrade = ("upgrade", "--install", "medallion", "deploy/cluster", "--namespace", namespace)
    helm(*upgrade)
    grown = (*upgrade, "--set", f"{component}.storage=900Gi")
    refused = helm(*grown, check=False)
    assert refused.returncode
    assert "`Grow a disk`" in refused.stderr
    sets = [one for one in objects(cluster, SETS.format(namespace)) if component in one["metadata"]["name"]]
    assert sets
    claims = [claim for one in sets for claim in bound_claims(cluster, namespace, one)]

    size = {"spec": {"resources": {"requests": {"storage": "900Gi"}}}}
    for claim in claims:
        answer = cluster.ask("PATCH", f"{CLAIMS.format(namespace)}/{claim}", size, headers=MERGE)
        assert answer.status_code == 200, answer.text
    for one in sets:
        path = f"{SETS.format(namespace)}/{one['metadata']['name']}"
        cluster.ask("DELETE", path, {"propagationPolicy": "Orphan"}).raise_for_status()
        # What the garbage collector does once the pods are nobody's.
        cluster.ask("PATCH", path, {"metadata": {"finalizers": None}}, headers=MERGE).raise_for_status()
    helm(*grown)

    for one in sets:
        now = cluster.ask("GET", f"{SETS.format(namespace)}/{one['metadata']['name']}").json()["spec"]
        assert now["volumeClaimTemplates"][0]["spec"]["resources"]["requests"]["storage"] == "900Gi"
        assert now["selector"] == one["spec"]["selector"], "it would not find its pods again"
    kept = {claim["metadata"]["name"]: claim for claim in objects(cluster, CLAIMS.format(namespace))}
    assert {kept[claim]["spec"]["resources"]["requests"]["storage"] for claim in claims} == {"900Gi"}
    helm(*grown)


def objects(cluster: Cluster, path: str) -> list[dict[str, Any]]:
    answer = cluster.ask("GET", path)
    answer.raise_for_status()
    return list(answer.json()["items"])


def bound_claims(cluster: Cluster, namespace: str, owner: dict[str, Any]) -> list[str]:
    """The claims that the controller would make of this StatefulSet, bound to disks of a class that may grow."""
    growing = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "growing"},
        "provisioner": "example.com/disk",
        "allowVolumeExpansion": True,
    }
    assert cluster.apply(growing, "", dry_run=False).ok
    names = []
    (template,) = owner["spec"]["volumeClaimTemplates"]
    for number in range(owner["spec"]["replicas"]):
        name = f"{template['metadata']['name']}-{owner['metadata']['name']}-{number}"
        spec = {**template["spec"], "storageClassName": "growing", "volumeName": name}
        body = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}
        cluster.ask("POST", CLAIMS.format(namespace), body).raise_for_status()
        bound = {"status": {"phase": "Bound", "capacity": template["spec"]["resources"]["requests"]}}
        path = f"{CLAIMS.format(namespace)}/{name}/status"
        cluster.ask("PATCH", path, bound, headers=MERGE).raise_for_status()
        names.append(name)
    return names
