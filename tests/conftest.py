"""Fixtures of the whole suite: where the recorded data is; how hypothesis draws its examples."""

from __future__ import annotations

import gc
import re
from collections.abc import Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

# No test is timed: a busy machine is not a failure. `make test` draws the same few examples every time, `make nightly`
# new and more ones (`--hypothesis-profile nightly`). A test that needs more or fewer takes a multiple or a part.
hypothesis.settings.register_profile("nightly", max_examples=100, deadline=None, print_blob=True)
hypothesis.settings.register_profile("same every time", max_examples=25, deadline=None, derandomize=True)
hypothesis.settings.load_profile("same every time")

ROOT = Path(__file__).resolve().parents[1]
# Folders whose files take or wait the longest. They begin, so that no process is left with one of them at the end.
FIRST = (
    "chaos",
    "stack",
    "kafka_engine",
    "offload",
    "cli",
    "producers",
    "conformance",
    "silver",
    "security",
    "ddl",
    "serving",
)


# A file whose tests are all nightly is not even imported in the fast tier.
ALL_NIGHTLY = re.compile(r"^pytestmark = .*\bpytest\.mark\.nightly\b", re.MULTILINE)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """None: no opinion, others decide."""
    if collection_path.suffix != ".py" or config.option.markexpr != "not nightly":
        return None
    return True if ALL_NIGHTLY.search(collection_path.read_text(encoding="utf-8")) else None


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is collected lives to the end: the garbage collector does not look at it, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    rank = {folder: number for number, folder in enumerate(FIRST)}
    items.sort(key=lambda item: rank.get(item.nodeid.split("/")[1], len(rank)))


@pytest.fixture(scope="session", autouse=True)
def own_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No command of a test finds the stacks that this user runs, and an idle database costs nothing."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        # Dozens of databases need no copy a second each.
        patch.setenv("MEDALLION_LATEST_PRICES_EVERY_S", "30")
        yield


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The recordings of this repository (see tests/recordings/README.md)."""
    return ROOT / "tests" / "recordings"


@pytest.fixture(scope="session")
def http_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The HTTP port of a ClickHouse node, one for all folders: to start it, to fill it and to keep it costs.

    Its databases are those of `tests.offload.hot_tables`.
    """
    from tests.offload.conftest import clickhouse_node

    with clickhouse_node(tmp_path_factory.mktemp("node")) as http:
        yield http
