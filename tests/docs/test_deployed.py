"""docs/deployed.md: the versions that it names are those that files pin, and no other is named."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from deploy import digests
from tests.offload.servers.s3_server import VERSION as VERSITYGW

ROOT = Path(__file__).resolve().parents[2]
# Kubernetes' schemas of test_cluster.py; the release whose data folder is upgraded.
OF_TESTS = {"JSON schemas of 1.29 and 1.33", "data folder of 0.1.0"}
# What nothing pins: Debian's packages and the Go that happened to be there, a source that was read, and the release of
# SeaweedFS' commit, which go.mod does not say.
AS_FOUND = {
    "etcd 3.4.23 from Debian",
    "2.42.0 from Debian; compose",
    "0.25.0 from Debian; compose",
    "Go 1.26.8",
    "4.53 (commit",
    "source says (0.13)",
    "its source (0.13.1)",
}
_VERSION = re.compile(r"\bv?\d+\.\d+(?:\.\d+)*\b")


@pytest.fixture(scope="module")
def page() -> str:
    return (ROOT / "docs/deployed.md").read_text()


def images() -> dict[str, str]:
    """Image name → tag, of every image that compose, the chart and the Dockerfiles name."""
    named = [image for file in digests.FILES for image in digests.images(file.read_text())]
    return {image.rpartition(":")[0].rpartition("/")[2]: image.rpartition(":")[2] for image in named}


def of_pom(file: str, artifact: str) -> str:
    found = [
        one for one in ET.parse(ROOT / file).iterfind(".//{*}dependency") if one.findtext("{*}artifactId") == artifact
    ]
    return str(found[0].findtext("{*}version"))


def of_go(folder: str, module: str) -> str:
    text = (ROOT / "tests/deploy/real" / folder / "go.mod").read_text()
    return re.findall(rf"^(?:\t|require ){re.escape(module)} (\S+)", text, re.MULTILINE)[0].partition("+")[0]


def of_lock(file: str, package: str) -> str:
    return re.findall(rf"^{re.escape(package)}==([^\s\\]+)", (ROOT / file).read_text(), re.MULTILINE)[0]


def pinned() -> set[str]:
    """What the page must say, word for word."""
    tag = images()
    bare = {name: version.removeprefix("v") for name, version in tag.items()}
    postgres = bare["postgres"].partition("-")[0]
    commit = of_go("seaweedfs", "github.com/seaweedfs/seaweedfs").rpartition("-")[2]
    return {
        f"Apache Kafka {of_pom('deploy/embedded/kafka/pom.xml', 'kafka_2.13')}",
        f"reference server {of_pom('tests/offload/servers/rest/pom.xml', 'iceberg-core')}",
        f"VersityGW {VERSITYGW}",
        f"chdb-core {of_lock('requirements-dev.txt', 'chdb-core')}",
        f"chdb-core {of_lock('requirements-conformance.txt', 'chdb-core')}",
        f"harness, *real* | {of_lock('requirements-prefect.txt', 'prefect')} (",
        f"| faust-streaming from its source package | {of_lock('requirements.txt', 'faust-streaming')}",
        f"{of_go('compose', 'github.com/docker/compose/v5')} and {of_go('compose', 'github.com/docker/buildx')}, built",
        f"| buildx {of_go('compose', 'github.com/docker/buildx')} |",
        f"{of_go('apiserver', 'k8s.io/kubernetes')}, etcd",
        f"{of_go('helm', 'helm.sh/helm/v3')}, built",
        f"(commit {commit}), compose has {bare['seaweedfs']}",
        f"from Debian (compose has {postgres})",
        f"MinIO, Postgres {postgres}, ClickHouse server {'.'.join(bare['clickhouse-server'].split('.')[:2])} |",
        f"from Debian; compose has {bare['prometheus']}",
        f"from Debian; compose has {bare['alertmanager']}",
        f"| Grafana {bare['grafana']} with",
        f"| Redpanda {tag['redpanda']} and its console",
        f"| Lakekeeper {tag['catalog']} |",
    }


def test_versions_are_the_pinned_ones(page: str) -> None:
    assert {words for words in pinned() if words not in page} == set()


def test_no_other_version_is_named(page: str) -> None:
    """A row with a version that no pin decides has to be added here, with the reason."""
    assert {words for words in AS_FOUND | OF_TESTS if words not in page} == set(), "what is gone is still excused"
    known = {version for words in pinned() | AS_FOUND | OF_TESTS for version in _VERSION.findall(words)}
    assert set(_VERSION.findall(page)) == known


def test_schemas_are_those_of_the_charts_tests() -> None:
    text = (ROOT / "tests/deploy/test_cluster.py").read_text()
    assert all(f'"{version}"' in text for version in ("1.29", "1.33"))
