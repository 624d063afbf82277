"""The compose files, as Compose itself and its builder buildx read them. Both are built from their Go modules."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cli.stack.doctor import compose as doctor
from tests.deploy.conftest import COMPOSE_FILES, ROOT
from tests.go_programs import program
from tests.offload.servers.maven import MissingError

pytestmark = [pytest.mark.deploy_real, pytest.mark.nightly, pytest.mark.timeout(7200)]
MODULE = Path(__file__).parent / "compose"
BASE, *OVERRIDES = COMPOSE_FILES
FILE_SETS = [(BASE,), *((BASE, override) for override in OVERRIDES), COMPOSE_FILES]
# What .env says at first, what it says for simulated exchanges, each profile by itself, and the command line's.
PROFILES = ["core,observability", "core", "observability", "simulator", "tools"]
Compose = Callable[..., str]


@pytest.fixture(scope="module")
def docker_config(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Docker's folder with buildx in it, where Compose looks for it."""
    try:
        buildx = program(MODULE, "github.com/docker/buildx/cmd/buildx")
    except MissingError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("docker")
    (folder / "cli-plugins").mkdir()
    (folder / "cli-plugins" / "docker-buildx").symlink_to(buildx)
    return folder


@pytest.fixture(scope="module")
def compose(docker_config: Path, tmp_path_factory: pytest.TempPathFactory) -> Compose:
    """Runs Compose over these files with these profiles and the .env that `make env` writes; what it prints."""
    try:
        command = str(program(MODULE, "github.com/docker/compose/v5/cmd"))
    except MissingError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("env")
    (folder / ".env.example").write_text((ROOT / ".env.example").read_text())
    subprocess.run([ROOT / "deploy/compose/make-env.sh", folder], check=True, capture_output=True)

    def run(files: tuple[str, ...], profiles: str, *arguments: str) -> str:
        chosen = [part for file in files for part in ("--file", file)]
        environment = {"PATH": "/usr/bin:/bin", "DOCKER_CONFIG": str(docker_config), "COMPOSE_PROFILES": profiles}
        done = subprocess.run(
            [command, *chosen, "--env-file", str(folder / ".env"), *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        said = [line for line in done.stderr.splitlines() if "No services to build" not in line]
        assert not [line for line in said if "warning" in line], said
        return done.stdout

    return run


@pytest.mark.parametrize("profiles", PROFILES)
@pytest.mark.parametrize("files", FILE_SETS, ids=" ".join)
def test_services_are_whole_and_images_built_once(compose: Compose, files: tuple[str, ...], profiles: str) -> None:
    services = json.loads(compose(files, profiles, "config", "--format", "json"))["services"]
    assert services
    for name, service in services.items():
        waits = set(service.get("depends_on", {}))
        assert waits <= set(services), name
        assert {port["host_ip"] for port in service.get("ports", [])} <= {"127.0.0.1"}, name
        assert service["deploy"]["resources"]["limits"]["memory"], name
    # Compose hands one plan to buildx, which exports all its targets at once: the second export of a tag fails.
    ours = {service["image"] for service in services.values() if service["image"].startswith("medallion")}
    plan = compose(files, profiles, "build", "--print")
    tags = [tag for target in (json.loads(plan)["target"] if plan else {}).values() for tag in target["tags"]]
    assert len(set(tags)) == len(tags)
    # The command line is an image that the others have built.
    assert set(tags) == (set() if profiles == "tools" else ours)


def test_compose_reads_the_base_file_as_these_tests_do(compose: Compose, services: dict[str, Any]) -> None:
    """The other tests of the deployment rest on their own reading of YAML tags, anchors and variables."""
    read = json.loads(compose((BASE,), "*", "config", "--format", "json"))["services"]
    assert set(read) == set(services)
    for name, service in services.items():
        assert read[name]["image"] == service["image"], name
        assert {(port["host_ip"], port["target"]) for port in read[name].get("ports", [])} == {
            (text.split(":")[0], int(text.split(":")[-1])) for text in service.get("ports", [])
        }, name
        told = service.get("environment") or {}
        assert set(read[name].get("environment") or {}) == set(told), name
        open_values = {key: value for key, value in told.items() if "s3cret-for-the-test" not in str(value)}
        assert open_values.items() <= (read[name].get("environment") or {}).items(), name
        if isinstance(service.get("command"), list):
            assert read[name]["command"] == service["command"] or service["command"] == [], name


def test_the_bake_file_names_composes_images_for_both_platforms(docker_config: Path, compose: Compose) -> None:
    done = subprocess.run(
        [docker_config / "cli-plugins" / "docker-buildx", "bake", "-f", "deploy/docker-bake.hcl", "--print"],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "DOCKER_CONFIG": str(docker_config), "REGISTRY": "registry.example.com/desk/"},
        capture_output=True,
        text=True,
        check=True,
    )
    targets = json.loads(done.stdout)["target"].values()
    plan = json.loads(compose((BASE,), "core,observability", "build", "--print"))["target"].values()
    built = sorted(tag for target in targets for tag in target["tags"])
    assert built == sorted(f"registry.example.com/desk/{tag}" for target in plan for tag in target["tags"])
    assert all(target["platforms"] == ["linux/amd64", "linux/arm64"] for target in targets)
    assert {(ROOT / target["context"]).resolve() for target in targets} == {Path(one["context"]) for one in plan}


def test_the_doctor_reads_what_compose_says(
    docker_config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine's answers are a script's, as no engine runs here; `docker compose` is Compose."""
    try:
        command = program(MODULE, "github.com/docker/compose/v5/cmd")
    except MissingError as error:
        pytest.skip(str(error))
    for name in (*COMPOSE_FILES, ".env.example"):
        shutil.copy(ROOT / name, tmp_path)
    subprocess.run([ROOT / "deploy/compose/make-env.sh", tmp_path], check=True, capture_output=True)
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        "version*) echo 29.1.3;;\n"
        """info*) echo '{"NCPU": 8, "MemTotal": 64000000000}';;\n"""
        '"compose ps"*) ;;\n'
        f'*) shift; exec {command} "$@";;\nesac\n'
    )
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:/usr/bin:/bin")
    monkeypatch.setenv("DOCKER_CONFIG", str(docker_config))
    found = {one.name: one for one in doctor.examine(tmp_path)}
    assert found["compose"].found.startswith("Docker Compose dev"), "what Go builds from a module has no version"
    assert "7,344 by the services' limits" in found["memory"].found, "core and observability"
    assert {"3000", "8080", "8686", "9001", "9090", "9093"} <= set(re.findall(r"\d{4}", found["ports"].found))
