"""`make env`: every secret filled in, nothing that was there changed."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.deploy.conftest import COMPOSE_FILES, load_compose, variables


def make_env(root: Path, folder: Path, **environment: str) -> dict[str, str]:
    shutil.copy(root / ".env.example", folder)
    environment = {"PATH": os.environ["PATH"], **environment}
    subprocess.run([root / "deploy/compose/make-env.sh", folder], check=True, capture_output=True, env=environment)
    return dict(line.split("=", 1) for line in (folder / ".env").read_text().splitlines())


def test_everything_that_compose_insists_on_is_filled_in(root: Path, tmp_path: Path) -> None:
    written = make_env(root, tmp_path)
    wanted = {name for file in COMPOSE_FILES for name, how in variables(load_compose(file)).items() if ":?" in how}
    assert wanted <= set(written)
    secrets = [written[name] for name in wanted]
    assert all(re.fullmatch(r"[0-9a-f]{48}", secret) for secret in secrets)
    assert len(set(secrets)) == len(secrets)
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_what_is_there_stays(root: Path, tmp_path: Path) -> None:
    first = make_env(root, tmp_path)
    assert make_env(root, tmp_path) == first
    kept = {name: value for name, value in first.items() if name != "GRAFANA_ADMIN_PASSWORD"}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in kept.items()))
    second = make_env(root, tmp_path)
    assert kept.items() <= second.items()
    assert second["GRAFANA_ADMIN_PASSWORD"] not in {"", first["GRAFANA_ADMIN_PASSWORD"]}


def test_the_profiles_are_said_in_the_file(root: Path, tmp_path: Path) -> None:
    """Every later command reads them there, `down` too."""
    assert make_env(root, tmp_path, COMPOSE_PROFILES="simulator")["COMPOSE_PROFILES"] == "simulator"
    assert make_env(root, tmp_path)["COMPOSE_PROFILES"] == "simulator", "what is there stays"
