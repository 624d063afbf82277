"""`make compatibility`: the own test suites of clickhouse-driver and clickhouse-connect against a node.

A test that fails must be in `refused.yaml` with the reason, and what is there must fail: docs/clients.md lists both.
"""

from __future__ import annotations

import argparse
import configparser
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.node.conftest import PASSWORD, NodeProcess, start

REFUSED = Path(__file__).with_name("refused.yaml")
TIMEOUT_S = 300
HOW_TO_GET = {
    "clickhouse-driver": "git clone --branch 0.2.11 https://github.com/mymarilyn/clickhouse-driver",
    "clickhouse-connect": "git clone https://github.com/ClickHouse/clickhouse-connect",
}
# clickhouse-driver's tests prepare their tables with the program `clickhouse-client`.
CLIENT = """\
    #!{python}
    import os, sys, urllib.error, urllib.parse, urllib.request

    given = {{name.removeprefix("--"): value for name, value in zip(sys.argv[1::2], sys.argv[2::2])}}
    sql = given.pop("query")
    given.pop("host"), given.pop("port")
    if given.pop("use_client_time_zone", "0") == "1":
        given["session_timezone"] = os.environ["TZ"]
    account = {{"X-ClickHouse-User": "default", "X-ClickHouse-Key": {password!r}}}
    request = urllib.request.Request({url!r} + "?" + urllib.parse.urlencode(given), sql.encode(), account)
    try:
        sys.stdout.buffer.write(urllib.request.urlopen(request).read())
    except urllib.error.HTTPError as error:
        sys.exit(error.read().decode())
"""


@dataclass(frozen=True)
class Outcome:
    """What a suite's tests did: how many passed and were skipped, and which failed."""

    passed: int
    skipped: int
    failed: tuple[str, ...]


def run(python: str, folder: Path, tests: str, environment: Mapping[str, str], report: Path) -> Outcome:
    """Run a suite in its own folder."""
    options = ("-q", "-o", "addopts=", "-p", "no:cacheprovider", "--timeout", str(TIMEOUT_S), f"--junitxml={report}")
    command = [python, "-m", "pytest", *options, tests]
    subprocess.run(command, cwd=folder, env={**os.environ, **environment}, check=False)
    cases = list(ET.parse(report).getroot().iter("testcase"))
    failed = {f"{case.get('classname')}::{case.get('name')}" for case in cases if _has(case, "failure", "error")}
    skipped = sum(_has(case, "skipped") for case in cases)
    return Outcome(len(cases) - len(failed) - skipped, skipped, tuple(sorted(failed)))


def _has(case: ET.Element, *kinds: str) -> bool:
    return any(case.find(kind) is not None for kind in kinds)


def without_client(checkout: Path, target: Path) -> Path:
    """A copy of a checkout without the client itself, which would hide the one that is installed and built."""
    clients = shutil.ignore_patterns(".git", *(name.replace("-", "_") for name in HOW_TO_GET))
    return Path(shutil.copytree(checkout, target, ignore=clients))


def run_driver(python: str, sources: Path, node: NodeProcess, scratch: Path) -> Outcome:
    """clickhouse-driver's suite: its configuration names the node, its `clickhouse-client` speaks HTTP."""
    configuration = configparser.ConfigParser()
    configuration.read(sources / "setup.cfg")
    client = scratch / "clickhouse-client"
    client.write_text(textwrap.dedent(CLIENT).format(python=sys.executable, password=PASSWORD, url=node.url))
    client.chmod(0o755)
    configuration["db"].update(port=str(node.native_port), password=PASSWORD, client=str(client))
    with (sources / "setup.cfg").open("w") as file:
        configuration.write(file)
    return run(python, sources, "tests", {}, scratch / "driver.xml")


def run_connect(python: str, sources: Path, node: NodeProcess, scratch: Path) -> Outcome:
    """clickhouse-connect's integration suite."""
    account = {"HOST": "127.0.0.1", "PORT": str(node.http_port), "PASSWORD": PASSWORD}
    environment = {f"CLICKHOUSE_CONNECT_TEST_{name}": value for name, value in account.items()}
    return run(python, sources, "tests/integration_tests", environment, scratch / "connect.xml")


def explain(suite: str, outcome: Outcome) -> list[str]:
    """What differs from `refused.yaml`, a line each; nothing where all is as written there."""
    refused = yaml.safe_load(REFUSED.read_text())[suite]
    patterns = {pattern: re.compile(pattern) for entry in refused for pattern in entry["tests"]}
    surprises = [
        f"{suite}: {name} fails, and nothing in {REFUSED.name} says why"
        for name in outcome.failed
        if not any(pattern.search(name) for pattern in patterns.values())
    ]
    pointless = [
        f"{suite}: {text!r} in {REFUSED.name} is no longer true: no such test fails"
        for text, pattern in patterns.items()
        if not any(map(pattern.search, outcome.failed))
    ]
    return surprises + pointless


def main() -> int:
    """Run both suites; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", required=True, help="of the environment with requirements-clients.txt")
    parser.add_argument("--sources", type=Path, required=True, help="folder with a checkout of each client")
    given = parser.parse_args()
    missing = [name for name in HOW_TO_GET if not (given.sources / name / "tests").is_dir()]
    for name in missing:
        print(f"{given.sources / name} is missing: {HOW_TO_GET[name]} {given.sources / name}", file=sys.stderr)
    if missing:
        return 2
    runs = {"clickhouse-driver": run_driver, "clickhouse-connect": run_connect}
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        scratch = Path(folder)
        node = start(scratch / "node")
        try:
            python = str(Path(given.python).absolute())
            under_way = {
                name: pool.submit(suite, python, without_client(given.sources / name, scratch / name), node, scratch)
                for name, suite in runs.items()
            }
            outcomes = {name: future.result() for name, future in under_way.items()}
        finally:
            node.stop()
    differences = []
    for name, outcome in outcomes.items():
        print(f"{name}: {outcome.passed} passed, {len(outcome.failed)} failed, {outcome.skipped} skipped")
        print(*(f"    {test}" for test in outcome.failed), sep="\n")
        differences += explain(name, outcome)
    print(*differences, sep="\n")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
