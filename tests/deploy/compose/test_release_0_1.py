"""Compose's volumes of release 0.1.0 are found again by today's files, or the README says what to do."""

from __future__ import annotations

import functools
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.compose.test_env import make_env
from tests.deploy.conftest import ROOT, load_compose, variables
from tests.releases import text_of

VERSION = "0.1.0"
FILES = ("docker-compose.yml", "docker-compose.seaweedfs.yml")


@functools.cache
def then(file: str) -> dict[str, Any]:
    """A compose file of the release. It is read once: every process of a run collects these tests."""
    document: dict[str, Any] = yaml.load(
        re.sub(r"!(override|reset)\b", "", text_of(VERSION, file)), Loader=yaml.CSafeLoader
    )
    return document


def named(service: dict[str, Any], volumes: set[str]) -> dict[str, str]:
    """Named volume → the path at which the service mounts it."""
    pairs = [str(one).split(":")[:2] for one in service.get("volumes", [])]
    return {source: target for source, target in pairs if source in volumes}


MOUNTS = [
    pytest.param(file, service, volume, path, id=volume)
    for file in FILES
    for service, one in then(file)["services"].items()
    for volume, path in named(one, set(then(file)["volumes"])).items()
]
KEPT = {
    "redpanda-data", "clickhouse-data", "object-store-data", "catalog-database-data", "prometheus-data",
    "alertmanager-data", "grafana-data", "seaweedfs-data",
}  # fmt: skip


def test_every_volume_of_the_release_is_looked_at() -> None:
    assert {one.id for one in MOUNTS} == KEPT


@pytest.fixture(scope="module")
def section() -> str:
    """What the README says of an upgrade from 0.1.0."""
    text = (ROOT / "deploy/compose/README.md").read_text()
    return text[text.index("## From 0.1.0") :].partition("\n## ")[0]


@pytest.mark.parametrize(("file", "service", "volume", "path"), MOUNTS)
def test_a_volume_is_mounted_where_it_was(file: str, service: str, volume: str, path: str) -> None:
    """Compose puts the project's name before a volume's, so that counts too."""
    now = load_compose(file)
    assert load_compose("docker-compose.yml")["name"] == then("docker-compose.yml")["name"]
    assert volume in now["volumes"]
    assert not now["volumes"][volume], "a name or driver of its own would make it another volume"
    assert named(now["services"][service], set(now["volumes"])).get(volume) == path


@pytest.mark.parametrize(("file", "service"), sorted({(one.values[0], one.values[1]) for one in MOUNTS}))
def test_what_reads_a_volume_is_the_image_and_user_that_wrote_it(file: str, service: str, section: str) -> None:
    """An image that has moved on may read its predecessor's files or not: the README has to say which."""
    now, earlier = load_compose(file)["services"][service], then(file)["services"][service]["image"].partition("@")[0]
    assert "user" not in now, "the image's own user wrote the volume"
    image = now["image"].partition("@")[0]
    if "build" in now:
        dockerfile = (ROOT / now["build"] / "Dockerfile").read_text()
        (image,) = (one.partition("@")[0] for one in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
        assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[-1] == "472", "Grafana's own user id"
    assert image == earlier or earlier.rpartition(":")[2] in section


def test_clickhouse_looks_for_its_data_in_the_volume() -> None:
    """Its config.xml is ours since, in place of the image's."""
    root = ET.parse(ROOT / "deploy/compose/clickhouse/server.xml").getroot()
    (path,) = (one.values[3] for one in MOUNTS if one.id == "clickhouse-data")
    assert str(root.findtext("path")).rstrip("/") == path


def test_an_environment_file_of_then_is_completed_and_keeps_its_passwords(tmp_path: Path, section: str) -> None:
    names = re.findall(r"^([A-Z_]+)=", text_of(VERSION, ".env.example"), re.MULTILINE)
    assert len(names) == 14
    earlier = {name: f"x{number}" for number, name in enumerate(names)}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in earlier.items()))
    now = make_env(ROOT, tmp_path)
    assert earlier.items() <= now.items()
    wanted = {name for name, how in variables(load_compose("docker-compose.yml")).items() if ":?" in how}
    assert wanted <= set(now)
    new = wanted - set(earlier)
    assert new
    assert {name for name in new if f"`{name}`" not in section} == set()
    assert "make env" in section


def test_volumes_that_are_new_are_named(section: str) -> None:
    known = {volume for one in MOUNTS for volume in [one.values[2]]}
    assert {name for name in load_compose("docker-compose.yml")["volumes"] if name not in known} == {"scratch"}
    assert "`scratch`" in section
