"""Checks of this machine before `docker compose up`: Docker, Compose, `.env`, and what the services will take."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cli.stack.doctor import host
from cli.stack.doctor.clock import clock, is_synchronised
from cli.stack.doctor.finding import Finding, attempt
from config.errors import MedallionError
from config.places import nearest
from config.process.disks import measure
from deploy.embedded.ports import is_free

FILE = "docker-compose.yml"
# The first with the tag `!override`, which docker-compose.kafka.yml and docker-compose.seaweedfs.yml use. The base file
# alone, with an `env_file` that need not exist, takes 2.24.0.
OLDEST_COMPOSE = (2, 24, 4)
# The first that builds with BuildKit by default: the Dockerfile picks a stage by TARGETARCH, which BuildKit sets.
OLDEST_DOCKER = (23, 0)
# Where Docker has images and volumes by default.
DOCKER_ROOT = Path("/var/lib/docker")
_CLIENT = "docker"
_TIMEOUT_S = 60.0
_LONGEST_REASON = 300
_ASKED = re.compile(r"^(\w+)=", re.MULTILINE)
# As make-env.sh decides which lines a .env lacks.
_SET = re.compile(r"^(\w+)=.", re.MULTILINE)


class DockerError(MedallionError):
    """Docker's client failed; the message is its output."""


def examine(folder: Path) -> list[Finding]:
    """The findings about a stack that is to start from the compose file in `folder`. Nothing is changed or pulled."""
    findings = [host.python(), *_docker(), environment_file(folder, os.environ)]
    failed = {one.name for one in findings if one.outcome == "fail"}
    # Of the engine, whose machine may be smaller than this one (Docker Desktop).
    machine: dict[str, Any] = {} if "docker" in failed else json.loads(_ask("info", "--format", "{{json .}}"))
    place = nearest(Path(machine.get("DockerRootDir") or DOCKER_ROOT))
    findings += [
        host.cores(machine.get("NCPU") or host.usable_cores()),
        *host.disks(measure({"images and volumes": place})),
        clock({}, is_synchronised()),
    ]
    if failed - {"docker"} or shutil.which(_CLIENT) is None:
        return findings
    try:
        return [*findings, *_plan(folder, machine)]
    except DockerError as error:
        return [*findings, Finding("services", "fail", str(error), f"correct .env, or the compose files in {folder}")]


def docker_version(version: str) -> Finding:
    """`version`: the engine's, such as `29.1.3`."""
    if _numbers(version) < OLDEST_DOCKER:
        remedy = f"upgrade Docker to {_text(OLDEST_DOCKER)} or later: it builds with BuildKit by default"
        return Finding("docker", "warn", f"Docker {version}", remedy)
    return Finding("docker", "ok", f"Docker {version}")


def compose_version(version: str) -> Finding:
    """`version`: the plugin's, such as `2.24.4` or `v5.5.0-desktop.1`."""
    if not _numbers(version):
        remedy = f"make sure that it is {_text(OLDEST_COMPOSE)} or later, which knows `!override`"
        return Finding("compose", "warn", f"Docker Compose {version}: a build without a version", remedy)
    if _numbers(version) < OLDEST_COMPOSE:
        remedy = f"upgrade the Compose plugin to {_text(OLDEST_COMPOSE)} or later, which knows `!override`"
        return Finding("compose", "fail", f"Docker Compose {version}", remedy)
    return Finding("compose", "ok", f"Docker Compose {version}")


def environment_file(folder: Path, environment: Mapping[str, str]) -> Finding:
    """Every variable that `.env.example` asks for is set, in `.env` or in the environment, which Compose puts first."""
    example, own = folder / ".env.example", folder / ".env"
    if not (folder / FILE).exists() or not example.exists():
        found = f"{folder} has no {FILE} or no .env.example"
        return Finding(".env", "fail", found, "name the folder of the repository: `medallion doctor --compose FOLDER`")
    remedy = f"`make env` in {folder} writes what is missing, with fresh passwords"
    if not own.exists():
        return Finding(".env", "fail", f"{own} is missing", remedy)
    wanted = _ASKED.findall(example.read_text(encoding="utf-8"))
    try:
        given = set(_SET.findall(own.read_text(encoding="utf-8")))
    except OSError as error:
        return Finding(".env", "fail", f"{own} cannot be read: {error.strerror}", "make it readable for this user")
    if missing := [name for name in wanted if name not in given and not environment.get(name)]:
        return Finding(".env", "fail", f"{own} lacks {', '.join(missing)}", remedy)
    return Finding(".env", "ok", f"{own} has all {len(wanted)} variables")


def planned(services: Mapping[str, Mapping[str, Any]], available: int) -> list[Finding]:
    """What these services will take is there: memory by their limits, and the ports that they publish.

    `services`: as `docker compose config` prints them. `available`: bytes of memory.
    """
    if not services:
        remedy = "set COMPOSE_PROFILES=core,observability in .env (`make env` writes it)"
        return [Finding("services", "fail", "no service belongs to the profiles of .env", remedy)]
    stay = {name: one for name, one in services.items() if one.get("restart") != "no"}
    limits = {name: _limit(one) for name, one in stay.items()}
    return [
        Finding("services", "ok", f"{len(services)}, of which {len(stay)} stay"),
        _memory(available, limits),
        _ports([(name, port) for name, one in services.items() for port in one.get("ports", [])]),
    ]


def _limit(service: Mapping[str, Any]) -> int:
    """Bytes of memory; 0 for a service of somebody's own override file that has no limit."""
    return int(service.get("deploy", {}).get("resources", {}).get("limits", {}).get("memory", 0))


def _plan(folder: Path, machine: Mapping[str, Any]) -> list[Finding]:
    # Compose reads its files without the engine; what runs, only the engine knows.
    if machine and _ask("compose", "ps", "--quiet", folder=folder):
        return [Finding("stack", "ok", "runs: `docker compose run --rm medallion doctor` checks its parts")]
    services = json.loads(_ask("compose", "config", "--format", "json", folder=folder))["services"]
    available = host.available_memory()
    return planned(services, min(available, machine.get("MemTotal", available)))


def _memory(available: int, limits: Mapping[str, int]) -> Finding:
    largest, together = max(limits, key=lambda name: limits[name]), sum(limits.values())
    found = f"{available // host.MIB:,} MiB available, {together // host.MIB:,} by the services' limits"
    if available < limits[largest]:
        remedy = f"free memory: {largest} alone may take {limits[largest] // host.MIB:,} MiB"
        return Finding("memory", "fail", found, remedy)
    if available < together:
        return Finding("memory", "warn", found, "free memory, or give the machine (or Docker Desktop's) more")
    return Finding("memory", "ok", found)


def _ports(published: list[tuple[str, Mapping[str, Any]]]) -> Finding:
    # Of a range, or where no number is given, Docker takes one that is free.
    fixed = [(name, port) for name, port in published if str(port.get("published", "")).isdigit()]
    taken = [
        f"{port.get('host_ip') or '0.0.0.0'}:{port['published']} ({name})"  # noqa: S104
        for name, port in fixed
        if not is_free(int(port["published"]), port.get("host_ip") or "")
    ]
    if taken:
        remedy = "end what listens there (`ss -ltnp`), or choose another port in .env, such as GRAFANA_PORT"
        return Finding("ports", "fail", f"taken: {', '.join(taken)}", remedy)
    free = ", ".join(str(port["published"]) for _, port in fixed)
    return Finding("ports", "ok", f"{free} are free" if free else "none is published")


def _docker() -> list[Finding]:
    if shutil.which(_CLIENT) is None:
        remedy = f"install Docker Engine {_text(OLDEST_DOCKER)} or later; `medallion up` needs none"
        return [Finding("docker", "fail", f"no `{_CLIENT}` is on the PATH", remedy)]
    start = "start Docker (`systemctl start docker`), and let this user ask it (group `docker`)"
    plugin = f"install Docker's Compose plugin, {_text(OLDEST_COMPOSE)} or later"
    return [
        attempt("docker", start, lambda: docker_version(_ask("version", "--format", "{{.Server.Version}}"))),
        attempt("compose", plugin, lambda: compose_version(_ask("compose", "version", "--short"))),
    ]


def _ask(*words: str, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(  # noqa: S603 -- the operator's own client
            [_CLIENT, *words], cwd=folder, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DockerError(f"`docker {words[0]}`: {error}") from error
    if done.returncode:
        raise DockerError(" ".join(done.stderr.split())[-_LONGEST_REASON:] or f"`docker {words[0]}` failed")
    return done.stdout.strip()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])


def _text(version: tuple[int, ...]) -> str:
    return ".".join(map(str, version))
