"""Compose's volumes of release 0.1.0 are found again by today's files, or the README says what to do."""

from __future__ import annotations

import re
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.compose.test_env import make_env
from tests.deploy.conftest import ROOT, load_compose, variables

RELEASE: dict[str, Any] = yaml.safe_load((Path(__file__).parent / "release_0_1.yaml").read_text())
COMMIT = "9fce581"
MOUNTS = [
    pytest.param(file, service, volume, path, id=volume)
    for file, services in RELEASE["files"].items()
    for service, one in services.items()
    for volume, path in one["volumes"].items()
]


@pytest.fixture(scope="module")
def section() -> str:
    """What the README says of an upgrade from 0.1.0."""
    text = (ROOT / "deploy/compose/README.md").read_text()
    return text[text.index("## From 0.1.0") :].partition("\n## ")[0]


def named(service: dict[str, Any], volumes: set[str]) -> dict[str, str]:
    """Named volume → the path at which the service mounts it."""
    pairs = [str(one).split(":")[:2] for one in service.get("volumes", [])]
    return {source: target for source, target in pairs if source in volumes}


@pytest.mark.parametrize(("file", "service", "volume", "path"), MOUNTS)
def test_a_volume_is_mounted_where_it_was(file: str, service: str, volume: str, path: str) -> None:
    """Compose puts the project's name before a volume's, so that counts too."""
    now = load_compose(file)
    assert load_compose("docker-compose.yml")["name"] == RELEASE["project"]
    assert volume in now["volumes"]
    assert not now["volumes"][volume], "a name or driver of its own would make it another volume"
    assert named(now["services"][service], set(now["volumes"])).get(volume) == path


@pytest.mark.parametrize(("file", "service"), sorted({(one.values[0], one.values[1]) for one in MOUNTS}))
def test_what_reads_a_volume_is_the_image_and_user_that_wrote_it(file: str, service: str, section: str) -> None:
    """An image that has moved on may read its predecessor's files or not: the README has to say which."""
    now, then = load_compose(file)["services"][service], RELEASE["files"][file][service]
    assert "user" not in now, "the image's own user wrote the volume"
    image = now["image"].partition("@")[0]
    if "build" in now:
        dockerfile = (ROOT / now["build"] / "Dockerfile").read_text()
        (image,) = (one.partition("@")[0] for one in re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE))
        assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[-1] == "472", "Grafana's own user id"
    assert image == then["image"] or then["image"].rpartition(":")[2] in section


def test_clickhouse_looks_for_its_data_in_the_volume() -> None:
    """Its config.xml is ours since, in place of the image's."""
    root = ET.parse(ROOT / "deploy/compose/clickhouse/server.xml").getroot()
    assert (
        str(root.findtext("path")).rstrip("/")
        == RELEASE["files"]["docker-compose.yml"]["clickhouse"]["volumes"]["clickhouse-data"]
    )


def test_an_environment_file_of_then_is_completed_and_keeps_its_passwords(tmp_path: Path, section: str) -> None:
    earlier = {name: f"x{number}" for number, name in enumerate(RELEASE["variables"])}
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


def test_the_record_is_what_the_release_had() -> None:
    """Where the release's commit is."""
    for file, services in RELEASE["files"].items():
        shown = subprocess.run(
            ["git", "show", f"{COMMIT}:{file}"], cwd=ROOT, capture_output=True, text=True, check=False
        )
        if shown.returncode:
            pytest.skip(f"no commit {COMMIT} here: {shown.stderr.strip()}")
        then = yaml.safe_load(re.sub(r"!(override|reset)\b", "", shown.stdout))
        found = {name: named(one, set(then["volumes"])) for name, one in then["services"].items()}
        assert {name: mounts for name, mounts in found.items() if mounts} == {
            name: one["volumes"] for name, one in services.items()
        }
        for name, one in services.items():
            assert then["services"][name]["image"].partition("@")[0] == one["image"]
    example = subprocess.run(
        ["git", "show", f"{COMMIT}:.env.example"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.findall(r"^([A-Z_]+)=", example.stdout, re.MULTILINE) == RELEASE["variables"]
