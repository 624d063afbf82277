"""A running embedded stack, and the `medallion` command as a user runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from deploy.embedded.kafka import jars
from deploy.embedded.layout import StackError
from tests import command
from tests.stack.applied import applied_folder

# Tests run beside each other, and beside a stack of the user's.
FREE_PORTS = {"MEDALLION_NATIVE_PORT": "0", "MEDALLION_HTTP_PORT": "0"}
# Two seconds of CPU a stack, for what test_lifecycle.py has.
WITHOUT_SCHEDULES = {"MEDALLION_SCHEDULES": "false"}
Medallion = Callable[..., subprocess.CompletedProcess[str]]


def clean_environment(home: Path) -> dict[str, str]:
    """This process's environment without `MEDALLION_…`, with a home of its own, and stacks on free ports."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("MEDALLION_")}
    return {**kept, "XDG_STATE_HOME": str(home), "COLUMNS": "200", **FREE_PORTS, **WITHOUT_SCHEDULES}


@pytest.fixture(scope="session")
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where stacks of these tests are noted, apart from the user's own."""
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="session")
def medallion(state_home: Path) -> Medallion:
    """Run `medallion …` as a process; `check=False` to look at a failure."""

    def run(
        *arguments: str | Path, check: bool = True, timeout: float = 180, settings: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        environment = {**clean_environment(state_home), **(settings or {})}
        done = command.run([*map(str, arguments)], environment, timeout)
        if check and done.returncode != 0:
            raise AssertionError(f"medallion {arguments} → {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run


@pytest.fixture(scope="session")
def applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of a stack that is down, with every migration and no row: to copy."""
    return applied_folder(tmp_path_factory)


@pytest.fixture(scope="session")
def kafka() -> None:
    """Skips, with the reason, where Apache Kafka cannot be run."""
    try:
        jars.find(None)
    except StackError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def shared_stack(tmp_path_factory: pytest.TempPathFactory, medallion: Medallion, applied: Path) -> Iterator[Path]:
    """The data folder of a stack that a module's tests share: each leaves it running."""
    folder = shutil.copytree(applied, tmp_path_factory.mktemp("shared") / "stack", symlinks=True)
    medallion("up", "--data-dir", folder, "--detach")
    yield folder
    medallion("down", "--data-dir", folder, "--timeout", "0", check=False)


@pytest.fixture
def stack(tmp_path: Path, medallion: Medallion, applied: Path) -> Iterator[Path]:
    """The data folder of a fresh running stack."""
    folder = shutil.copytree(applied, tmp_path / "stack", symlinks=True)
    medallion("up", "--data-dir", folder, "--detach")
    yield folder
    medallion("down", "--data-dir", folder, "--timeout", "0", check=False)
