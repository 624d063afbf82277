"""The compose stack with the simulated exchanges, on a Docker engine, from true images."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from docker.errors import DockerException
from testcontainers.compose import DockerCompose

ROOT = Path(__file__).resolve().parents[2]
FILES = ["docker-compose.yml"]
Compose = Callable[..., str]


def _reason_to_skip() -> str:
    try:
        docker.from_env().ping()
    except DockerException as error:
        return f"no Docker engine answers ({error})"
    plugin = subprocess.run(["docker", "compose", "version"], check=False, capture_output=True)
    return "the docker compose plugin is not installed" if plugin.returncode else ""


@pytest.fixture(scope="session")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """Runs `docker compose ARGUMENTS` on a stack of its own, which ends with the session; its output."""
    if reason := _reason_to_skip():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("env")
    (folder / ".env.example").write_text((ROOT / ".env.example").read_text())
    subprocess.run([ROOT / "deploy/compose/make-env.sh", folder], check=True, capture_output=True)
    # Any free ports: a stack of the developer's own may be running.
    with (folder / ".env").open("a") as file:
        names = ("CONSOLE", "OBJECT_STORE_CONSOLE", "PROMETHEUS", "ALERTMANAGER", "GRAFANA", "SERVING")
        file.writelines([*(f"{name}_PORT=0\n" for name in names), "COMPOSE_PROJECT_NAME=medallion-test\n"])
    stack = DockerCompose(
        ROOT, compose_file_name=FILES, profiles=["simulator"], env_file=str(folder / ".env"), build=True, wait=True
    )

    def run(*arguments: str, check: bool = True, stdin: str = "") -> str:
        command = [*stack.docker_compose_command(), *arguments]
        done = subprocess.run(command, cwd=ROOT, input=stdin, capture_output=True, text=True, check=False)
        if check and done.returncode:
            raise AssertionError(f"{' '.join(arguments)} → {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout + ("" if check else done.stderr)

    try:
        with stack:
            yield run
    except subprocess.CalledProcessError as error:
        pytest.fail(f"the stack did not come up: {error.stderr}")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Minutes and gigabytes: only where somebody asks for them."""
    if "docker" not in config.option.markexpr:
        for item in items:
            if item.get_closest_marker("docker"):
                item.add_marker(pytest.mark.skip(reason="run by `make test-docker`"))
