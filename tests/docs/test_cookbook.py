"""Invariant: every block of docs/cookbook.md does what the page says, in its order, on one embedded stack."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from series.declaration import load_series
from tests.docs.blocks import Block, fences, matches, session
from tests.docs.conftest import ROOT
from tests.docs.test_runbooks import Shell, fault_of
from tests.offload.servers.maven import MissingError, jars

pytestmark = [pytest.mark.stack, pytest.mark.nightly, pytest.mark.timeout(1800)]

COOKBOOK = ROOT / "docs" / "cookbook.md"
SPARK = ROOT / "tests" / "offload" / "spark"
SPARK_PYTHON = ROOT / ".venv-spark" / "bin" / "python"
COLD = ("pyiceberg", "polars from Iceberg", "DuckDB from Iceberg")
OF_SERIES = re.compile(rf"\bFROM ({'|'.join(one.name for one in load_series())})\b")


class Reader:
    """Somebody who tries the page from its beginning: one shell, and one Python whose variables stay."""

    def __init__(self, folder: Path, root: Path) -> None:
        self.folder, self.shell = folder, Shell(folder, root)
        self.names: dict[str, Any] = {}
        self.commands = {command.line: command for command in session(COOKBOOK, root)}
        self.blocks = list(fences(COOKBOOK))

    def follow(self) -> list[str]:
        """What is not as the page says."""
        faults = []
        for number, block in enumerate(self.blocks):
            if block.language == "console":
                lines = range(block.line, block.line + block.body.count("\n") + 1)
                faults += [fault_of(self.shell, self.commands[line]) for line in lines if line in self.commands]
            elif block.language == "sql":
                answer = self.names["client"].query(block.body)
                # No provider is asked here, so the series are empty: what they answer is tested in tests/ddl/views.
                faults += [] if answer.row_count or OF_SERIES.search(block.body) else [f"line {block.line}: no rows"]
            elif block.language == "python" and block.heading != "Spark":
                faults.append(self.fault_of_python(block, self.blocks[number + 1]))
        return [fault for fault in faults if fault]

    def fault_of_python(self, block: Block, shown: Block | None = None) -> str:
        printed = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(printed), warnings.catch_warnings():
            # polars recommends a package that plans scans faster.
            warnings.filterwarnings("ignore", message=".*polars_iceberg.*")
            exec(compile(block.body, f"{COOKBOOK}:{block.line}", "exec"), self.names)
        if shown is None or shown.language != "text" or matches(shown.body, printed.getvalue()):
            return ""
        return f"line {block.line}\nshown:\n{shown.body}\nprinted:\n{printed.getvalue()}"

    def block(self, heading: str, language: str) -> tuple[Block, Block]:
        """A block and the one after it."""
        pairs = zip(self.blocks, self.blocks[1:], strict=False)
        return next(pair for pair in pairs if (pair[0].heading, pair[0].language) == (heading, language))


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("MEDALLION_")]:
            patch.delenv(name)
        folder = tmp_path_factory.mktemp("reader")
        started = Reader(folder, ROOT)
        patch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("XDG_STATE_HOME", str(folder / "state"))
        yield started
        started.shell.close()


def test_every_block_does_what_the_page_says(reader: Reader) -> None:
    faults = reader.follow()
    assert not faults, "\n\n".join(faults)


def test_java_reads_by_jdbc(reader: Reader, tmp_path: Path) -> None:
    try:
        libraries = jars(Path(__file__).parent / "jdbc" / "pom.xml")
    except MissingError as error:
        pytest.skip(str(error))
    block, _ = reader.block("JDBC", "java")
    (tmp_path / "LatestPrices.java").write_text(block.body, encoding="utf-8")
    address = f"{reader.names['where']['clickhouse_http'].replace('http:', 'jdbc:clickhouse:')}/medallion"
    done = subprocess.run(
        ["java", "-cp", f"{libraries}/*", "LatestPrices.java", address, reader.names["password"]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.stdout.splitlines() == ["BTCUSDT 61685.99", "ETHUSDT 2682.51"], done.stderr


def test_cold_tables_are_read_while_the_stack_is_down(reader: Reader) -> None:
    assert reader.shell.run("medallion down --timeout 0")[0] == 0
    for heading in COLD:
        block, shown = reader.block(heading, "python")
        assert not reader.fault_of_python(block, shown), heading


@pytest.mark.spark
def test_spark_reads_the_pin(reader: Reader) -> None:
    if not SPARK_PYTHON.exists():
        pytest.skip("Spark has an environment of its own, made by `make test-spark`")
    try:
        libraries = jars(SPARK / "pom.xml")
    except MissingError as error:
        pytest.skip(str(error))
    block, shown = reader.block("Spark", "python")
    given = f"jars, where = {str(libraries)!r}, {reader.names['where']!r}\n"
    done = subprocess.run(
        [str(SPARK_PYTHON), "-c", given + block.body], capture_output=True, text=True, check=False, timeout=600
    )
    assert matches(shown.body, done.stdout), done.stderr[-3000:]
