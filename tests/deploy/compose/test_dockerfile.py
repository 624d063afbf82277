"""Rules of the image, checked on the Dockerfile: small, pinned, not root, nothing fetched past the lock."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

Instruction = tuple[str, str]


@pytest.fixture(scope="module")
def instructions(root: Path) -> list[Instruction]:
    """(name, arguments) with continued lines joined and comments dropped."""
    text = (root / "deploy/Dockerfile").read_text()
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(name.upper(), rest) for name, _, rest in (line.partition(" ") for line in joined.splitlines())]


def of(instructions: list[Instruction], name: str) -> list[str]:
    return [arguments for found, arguments in instructions if found == name]


def test_every_stage_starts_from_the_same_pinned_image(instructions: list[Instruction]) -> None:
    stages = [arguments.split(" AS ") for arguments in of(instructions, "FROM")]
    own = {name for _, name in stages} | {"faust-${TARGETARCH}"}
    (base,) = {base for base, _ in stages if base not in own}
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert stages[-1] == [base, "runtime"], "nothing of the build but what is copied"


def test_both_platforms_are_built(root: Path, instructions: list[Instruction]) -> None:
    """Each has the stage that its name picks; where the lock has no wheel, one is compiled from the hashed source."""
    bake = (root / "deploy/docker-bake.hcl").read_text()
    platforms = {tuple(re.findall(r"linux/(\w+)", line)) for line in re.findall(r"platforms +=.*", bake)}
    assert platforms == {("amd64", "arm64")}
    stages = {arguments.split(" AS ")[1] for arguments in of(instructions, "FROM")}
    assert {f"faust-{name}" for name in platforms.pop()} <= stages
    lock = (root / "requirements.txt").read_text()
    block = re.search(r"^faust-streaming==[^\n]*\n(?:    --hash=\S+(?: \\)?\n)+", lock, re.MULTILINE)
    (picked,) = [run for run in of(instructions, "RUN") if "awk" in run]
    (program,) = re.findall(r"awk '([^']+)'", picked)
    kept = subprocess.run(["awk", program, "requirements.txt"], cwd=root, capture_output=True, text=True, check=True)
    assert block is not None
    assert kept.stdout == block[0]


def test_the_tags_of_the_images_are_composes(root: Path, services: dict[str, Any]) -> None:
    tags = re.findall(r'"\$\{REGISTRY\}([^"]+)"', (root / "deploy/docker-bake.hcl").read_text())
    assert set(tags) == {service["image"] for service in services.values() if "build" in service}


def test_runs_as_a_numeric_user_that_is_not_root(instructions: list[Instruction]) -> None:
    names = [name for name, _ in instructions]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", of(instructions, "USER")[-1])
    assert names.index("USER") > len(names) - 1 - names[::-1].index("COPY"), "nothing is copied as that user"


def test_uses_copy_and_the_exec_form(instructions: list[Instruction]) -> None:
    assert not of(instructions, "ADD")
    for name in ("ENTRYPOINT", "CMD"):
        assert all(arguments.startswith("[") for arguments in of(instructions, name)), name


def test_installs_from_the_lock_alone(instructions: list[Instruction]) -> None:
    runs = " && ".join(of(instructions, "RUN"))
    installs = re.findall(r"pip (?:install|wheel) [^&]+", runs)
    assert len(installs) == 6
    assert all("--require-hashes" in line or "--no-deps" in line for line in installs)
    # The compiler of the ARM stage is Debian's, by its signatures; nothing of that stage but a wheel is kept.
    packages = re.findall(r"apt-get install [^&]+", runs)
    assert [line.split() for line in packages] == [
        ["apt-get", "install", "--yes", "--no-install-recommends", "gcc", "libc6-dev"]
    ]
    assert not re.search(r"\b(curl|wget|apk|git)\b|\|\s*(ba)?sh", runs)
    assert not re.search(r"--(extra-)?index-url|--trusted-host", runs)


def test_the_lock_of_shares_is_that_of_the_image_and_more(root: Path, instructions: list[Instruction]) -> None:
    assert of(instructions, "ARG") == ["LOCK=requirements.txt"]
    pins = {
        name: set(re.findall(r"^([a-z0-9-]+==\S+)", (root / name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "requirements-equities.txt")
    }
    assert pins["requirements.txt"] < pins["requirements-equities.txt"]
    assert all(kept(root, name) for name in pins)


def test_make_installs_from_the_locks_alone(root: Path) -> None:
    """Every installation is hashed, but for our own tree, which brings no dependency and no build of its own."""
    text = (root / "Makefile").read_text().replace("$(INSTALL)", "install --require-hashes")
    installs = re.findall(r"\binstall -[^\n;}]*|install --require-hashes[^\n;}]*", text)
    assert len(installs) >= 8
    for line in installs:
        assert "--require-hashes" in line or ("--no-deps" in line and "--no-build-isolation" in line), line
    for lock in set(re.findall(r"-r (requirements[a-z-]*\.txt)", text)):
        pinned = re.findall(r"^[a-z0-9][^\n]*==[^\n]*\\$", (root / lock).read_text(), re.MULTILINE)
        hashed = re.findall(r"==[^\n]*\\\n    --hash=sha256:", (root / lock).read_text())
        assert pinned, lock
        assert len(pinned) == len(hashed), lock


def test_no_secret_and_no_floating_tag(root: Path, instructions: list[Instruction]) -> None:
    assert ":latest" not in (root / "deploy/Dockerfile").read_text()
    for arguments in of(instructions, "ENV") + of(instructions, "ARG"):
        assert not re.search(r"PASSWORD|SECRET|TOKEN|KEY", arguments)


def test_writes_nowhere_but_tmp(instructions: list[Instruction]) -> None:
    """What a read-only root file system needs: home and working folder on the tmpfs, no byte code written."""
    runtime = instructions[len(instructions) - [name for name, _ in instructions][::-1].index("FROM") - 1 :]
    assert of(runtime, "WORKDIR") == ["/tmp"]
    environment = " ".join(of(runtime, "ENV"))
    assert "HOME=/tmp" in environment
    assert "PYTHONDONTWRITEBYTECODE=1" in environment
    assert not of(runtime, "VOLUME")


def kept(root: Path, path: str) -> bool:
    """Whether `.dockerignore` lets `path` into the build: the last rule that matches it or a folder above decides."""
    inside = True
    parts = path.split("/")
    above = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    for line in (root / ".dockerignore").read_text().splitlines():
        rule = line.strip().removeprefix("!")
        if not rule or rule.startswith("#"):
            continue
        patterns = [rule, rule.removeprefix("**/")] if rule.startswith("**/") else [rule]
        names = [*above, *parts] if rule.startswith("**/") else above
        if any(
            fnmatch(name, pattern) and ("/" in pattern or "/" not in name) for name in names for pattern in patterns
        ):
            inside = line.strip().startswith("!")
    return inside


def test_the_build_sees_the_packages_and_nothing_else(root: Path) -> None:
    for path in (
        "pyproject.toml",
        "requirements.txt",
        "README.md",
        "LICENSE",
        "config/symbols.yaml",
        "ddl/0001_raw.sql",
    ):
        assert kept(root, path), path
    packages = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    assert len(packages) > 9
    for package in packages:
        assert kept(root, f"{package.removesuffix('*')}/__init__.py"), package
    assert kept(root, "deploy/compose/lakehouse.py")
    for path in (".env", ".git/config", ".venv/bin/python", "tests/recordings/README.md", ".medallion/catalog.db"):
        assert not kept(root, path), path
    for path in ("deploy/compose/clickhouse/users.xml", "ddl/__pycache__/client.cpython-311.pyc", "deploy/.env"):
        assert not kept(root, path), path


def test_hadolint_agrees(root: Path) -> None:
    hadolint = shutil.which("hadolint", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if hadolint is None:
        pytest.skip("hadolint is not installed")
    result = subprocess.run([hadolint, "deploy/Dockerfile"], check=False, cwd=root, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout
