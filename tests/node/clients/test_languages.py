"""Programs in Go, JavaScript and Java with the usual drivers and their defaults, where these languages are.

Each writes, reads with a parameter, counts, looks at an error's code, and prints what it saw.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.node.conftest import PASSWORD, NodeProcess

pytestmark = [pytest.mark.nightly, pytest.mark.clients, pytest.mark.timeout(900)]
HERE = Path(__file__).parent


def run(folder: Path, *command: str, seconds: float = 600) -> str:
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def go_program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("go") / "clients"
    run(HERE / "go", "go", "build", "-o", str(program), ".")
    return program


@pytest.mark.parametrize("protocol", ["native", "http"])
def test_clickhouse_go(node: NodeProcess, go_program: Path, protocol: str) -> None:
    port = node.native_port if protocol == "native" else node.http_port
    at = "2024-08-08T01:02:03.000456Z"
    printed = run(go_program.parent, str(go_program), protocol, f"127.0.0.1:{port}", PASSWORD).splitlines()
    assert printed[:3] == [f"99998 n{99998 % 7} {at} 49999", f"99999 n{99999 % 7} {at} 49999.5", "100000"]
    assert "60" in printed[3]
    assert len(printed) == 4


def test_clickhouse_client_of_javascript(node: NodeProcess, tmp_path: Path) -> None:
    for name in ("package.json", "package-lock.json", "smoke.mjs"):
        shutil.copy(HERE / "javascript" / name, tmp_path / name)
    run(tmp_path, "npm", "ci", "--no-audit", "--no-fund")
    printed = run(tmp_path, "node", "smoke.mjs", node.url, PASSWORD).splitlines()
    assert printed == ["49998 it's 49998", "49999 it's 49999", "50000", "50000", "code 60"]


def test_jdbc(node: NodeProcess, tmp_path: Path) -> None:
    """Version 0.10.0 asks for answers in ClickHouse's own compressed frames (`compress=1`)."""
    shutil.copy(HERE / "jdbc" / "pom.xml", tmp_path / "pom.xml")
    run(tmp_path, "mvn", "-q", "-B", "dependency:copy-dependencies", "-DoutputDirectory=jars")
    url = f"jdbc:clickhouse://127.0.0.1:{node.http_port}/"
    java = ("java", "-cp", f"{tmp_path / 'jars'}/*", str(HERE / "jdbc" / "Smoke.java"))
    printed = run(tmp_path, *java, url, PASSWORD).splitlines()
    one, at = "0.000000000000000001", "2024-08-08 01:02:03.000456"
    assert printed[:3] == [f"998 it's 998 {one} {at}", f"999 it's 999 {one} {at}", "1000"]
    assert printed[3:] == ["table t", *(f"column {name}" for name in ("id", "name", "price", "at")), "code 60"]
