"""`medallion doctor --compose`: what is said of a machine on which nothing runs yet. Docker's client is a script."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from cli.stack.doctor import compose, host
from deploy.embedded.ports import LOOPBACK, free_ports
from tests.cli.test_doctor import assert_remedies

ROOT = Path(__file__).resolve().parents[2]
GIB = 1 << 30
Docker = Callable[..., None]
Doctor = Callable[[int], dict[str, dict[str, str]]]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A checkout with a complete .env."""
    path = tmp_path / "repository"
    path.mkdir()
    for name in (compose.FILE, ".env.example"):
        shutil.copy(ROOT / name, path)
    lines = (path / ".env.example").read_text().splitlines()
    (path / ".env").write_text("\n".join(f"{line}x" if line.endswith("=") else line for line in lines))
    return path


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    """Puts a `docker` on the PATH that answers by its first two words; what it is not told, it refuses."""
    programs = tmp_path / "bin"
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    for name in ("NATIVE_PORT", "HTTP_PORT"):
        monkeypatch.delenv(f"MEDALLION_{name}", raising=False)

    def answer(**answers: str) -> None:
        for name, text in answers.items():
            (tmp_path / name).write_text(text)
        cases = "".join(f'"{name.replace("_", " ")}"*) /bin/cat {tmp_path / name};;\n' for name in answers)
        program = programs / "docker"
        program.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}*) echo "refused: $*" >&2; exit 1;;\nesac\n')
        program.chmod(0o755)

    return answer


@pytest.fixture
def doctor(folder: Path) -> Doctor:
    def run(code: int) -> dict[str, dict[str, str]]:
        done = CliRunner().invoke(app, ["doctor", "--json", "--compose", str(folder)])
        assert done.exit_code == code, done.output
        found = {one["name"]: one for one in json.loads(done.stdout)}
        for one in found.values():
            assert bool(one["remedy"]) == (one["outcome"] != "ok"), one
        return found

    return run


def engine(memory: int = 64 * GIB) -> dict[str, str]:
    """An engine that answers, and on which nothing runs."""
    info = {"NCPU": 8, "MemTotal": memory, "DockerRootDir": "/nowhere/docker"}
    return {"version": "29.1.3", "info": json.dumps(info), "compose_version": "2.24.4", "compose_ps": ""}


def service(memory: int, port: int | None = None, restart: str = "unless-stopped") -> dict[str, Any]:
    ports = [{"host_ip": LOOPBACK, "published": str(port), "target": 80}] if port else []
    return {"restart": restart, "ports": ports, "deploy": {"resources": {"limits": {"memory": str(memory)}}}}


def failed(found: dict[str, dict[str, str]]) -> set[str]:
    return {name for name, one in found.items() if one["outcome"] == "fail"}


def test_a_machine_without_docker(docker: Docker, doctor: Doctor) -> None:
    found = doctor(1)
    assert failed(found) == {"docker"}, "what cannot be asked is not reported as a fault of its own"
    assert {"python", "cores", "disk (images and volumes)", "clock", ".env"} <= set(found)
    assert "install Docker Engine" in found["docker"]["remedy"]


def test_an_engine_that_does_not_answer_and_no_plugin(docker: Docker, doctor: Doctor) -> None:
    docker()
    found = doctor(1)
    assert failed(found) == {"docker", "compose"}
    assert "start Docker" in found["docker"]["remedy"]
    assert "refused: version" in found["docker"]["found"]
    assert "2.24.4" in found["compose"]["remedy"]


def test_an_engine_that_is_still_to_be_started(docker: Docker, doctor: Doctor) -> None:
    """Compose reads its files without it, so ports and memory are looked at."""
    docker(compose_version="5.5.0", compose_config=json.dumps({"services": {"a": service(GIB // 8)}}))
    found = doctor(1)
    assert failed(found) == {"docker"}
    assert {found[name]["outcome"] for name in ("memory", "ports", "services")} == {"ok"}


def test_versions() -> None:
    plugin = [compose.compose_version(one) for one in ("2.24.3", "2.5.0", "dev", "v2.24.4", "v5.5.0-desktop.1")]
    assert [one.outcome for one in plugin] == ["fail", "fail", "warn", "ok", "ok"]
    engines = [compose.docker_version(one) for one in ("20.10.24+dfsg1", "23.0.0", "29.1.3")]
    assert [one.outcome for one in engines] == ["warn", "ok", "ok"]
    assert_remedies(*plugin, *engines)


def test_the_oldest_compose_is_the_one_of_the_readme() -> None:
    oldest = ".".join(map(str, compose.OLDEST_COMPOSE))
    assert f"Docker Compose {oldest} or newer" in (ROOT / "deploy/compose/README.md").read_text()
    assert "!override" in (ROOT / "docker-compose.kafka.yml").read_text(), "what needs this version is gone"


def test_an_environment_file_lacks_nothing(folder: Path) -> None:
    own = folder / ".env"
    whole = own.read_text()
    assert compose.environment_file(folder, {}).outcome == "ok"
    own.write_text(whole.replace("GRAFANA_ADMIN_PASSWORD=x", "GRAFANA_ADMIN_PASSWORD="))
    incomplete = compose.environment_file(folder, {})
    assert (incomplete.outcome, incomplete.found) == ("fail", f"{own} lacks GRAFANA_ADMIN_PASSWORD")
    assert compose.environment_file(folder, {"GRAFANA_ADMIN_PASSWORD": "y"}).outcome == "ok"
    own.unlink()
    missing = compose.environment_file(folder, {})
    elsewhere = compose.environment_file(folder.parent, {})
    assert [one.outcome for one in (missing, elsewhere)] == ["fail", "fail"]
    assert "make env" in missing.remedy
    assert_remedies(incomplete, missing, elsewhere)


def test_a_machine_that_is_ready_and_one_whose_port_is_taken(docker: Docker, doctor: Doctor) -> None:
    free, port = free_ports(2)
    services = {"job": service(900 * GIB, restart="no"), "a": service(GIB, free), "b": service(GIB, port)}
    docker(**engine(), compose_config=json.dumps({"services": services}))
    found = doctor(0)
    assert {found[name]["outcome"] for name in ("docker", "compose", ".env", "services", "ports", "cores")} == {"ok"}
    assert found["cores"]["found"] == "8 cores", "those of the engine's machine"
    assert "2,048 by the services' limits" in found["memory"]["found"], "a job that ends is not counted"
    with socket.socket() as taken:
        taken.bind((LOOPBACK, port))
        taken.listen()
        found = doctor(1)
    assert failed(found) == {"ports"}
    assert found["ports"]["found"] == f"taken: {LOOPBACK}:{port} (b)"


def test_memory_is_compared_with_the_limits(docker: Docker, doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "available_memory", lambda: 32 * GIB)
    services = {"a": service(2 * GIB), "b": service(GIB)}
    config = json.dumps({"services": services})
    outcomes = {}
    for memory in (1, 2, 3):
        docker(**engine(memory * GIB), compose_config=config)
        outcomes[memory] = doctor(int(memory == 1))["memory"]["outcome"]
    assert outcomes == {1: "fail", 2: "warn", 3: "ok"}


def test_services_of_an_override_file_may_have_no_limit_and_any_port() -> None:
    own = {"restart": "always", "ports": [{"target": 80}, {"published": "6000-6002", "target": 81}]}
    found = {one.name: one for one in compose.planned({"a": service(GIB), "own": own}, 2 * GIB)}
    assert (found["memory"].outcome, found["ports"].outcome) == ("ok", "ok")


def test_profiles_that_name_no_service(docker: Docker, doctor: Doctor) -> None:
    docker(**engine(), compose_config=json.dumps({"services": {}}))
    found = doctor(1)
    assert failed(found) == {"services"}
    assert "COMPOSE_PROFILES" in found["services"]["remedy"]


def test_files_that_compose_refuses(docker: Docker, doctor: Doctor) -> None:
    docker(**engine())
    assert "refused: compose config" in doctor(1)["services"]["found"]


def test_a_stack_that_runs_has_its_ports_itself(docker: Docker, doctor: Doctor) -> None:
    docker(**engine() | {"compose_ps": "0123abcd\n"})
    found = doctor(0)
    assert "docker compose run --rm medallion doctor" in found["stack"]["found"]
    assert "ports" not in found
