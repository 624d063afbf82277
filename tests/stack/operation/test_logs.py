"""Invariant: whatever a service prints is one JSON object a line that says when, how bad, who, and about what."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import tenacity

from deploy.embedded.layout import DataDir
from tests.stack.conftest import Medallion, clean_environment

pytestmark = pytest.mark.stack

KEYS = {"timestamp", "level", "event", "logger", "service"}
LEVELS = {"debug", "info", "warn", "warning", "error", "critical", "fatal"}
# Our packages that run as services: those of the import contract, but what only holds declarations.
_CONTRACT = tomllib.loads((Path(__file__).resolve().parents[3] / "pyproject.toml").read_text())["tool"]["importlinter"]
OURS = tuple(sorted(set(_CONTRACT["root_packages"]) - {"schemas"}))
LIBRARIES = ("faust", "aiokafka", "pyiceberg", "apscheduler", "librdkafka")


def events(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.splitlines():
        event = json.loads(line)
        assert set(event) >= KEYS, line
        assert event["level"] in LEVELS, line
        assert datetime.fromisoformat(event["timestamp"]).tzinfo is not None
        found.append(event)
    return found


def eventually(condition: Callable[[], object]) -> None:
    for attempt in tenacity.Retrying(
        wait=tenacity.wait_fixed(0.1),
        stop=tenacity.stop_after_delay(60),
        retry=tenacity.retry_if_exception_type((AssertionError, OSError)),
        reraise=True,
    ):
        with attempt:
            assert condition()


# Its siblings: test_libraries_warnings_and_exceptions_are_lines_too has each source of a line.
@pytest.mark.nightly
def test_every_line_of_every_service_is_json(
    tmp_path: Path, medallion: Medallion, state_home: Path, recordings: Path
) -> None:
    folder = DataDir(tmp_path / "stack")
    up = json.loads(medallion("up", "--data-dir", folder.path, "--detach", "--json").stdout)
    variables = {**clean_environment(state_home), **up["environment"], "MEDALLION_LOG_LEVEL": "DEBUG"}
    state = tmp_path / "simulator"
    running = {}

    def start(name: str, *arguments: str) -> None:
        with (tmp_path / f"{name}.log").open("wb") as log:
            running[name] = subprocess.Popen([sys.executable, "-m", *arguments], env=variables, stdout=log, stderr=log)

    try:
        medallion("replay", recordings / "binance_bad_input.jsonl", "--exchange", "binance", "--data-dir", folder.path)
        start(
            "simulator", "producers.simulator", "--recording", f"kraken={recordings}/kraken_v2_btcusd.jsonl",
            "--faults", "5", "--faults-every", "20", "--speed", "max", "--wait-for-subscribers", "--state", str(state),
        )  # fmt: skip
        eventually(state.exists)
        address = state.read_text()
        start(
            "producer", "cli", "produce", "--exchange", "kraken", "--symbols", "BTC/USD",
            "--endpoint", f"ws://{address}/kraken", "--rest-endpoint", f"http://{address}/kraken/rest",
        )  # fmt: skip
        start("offload", "cli", "offload", "serve")
        worker = next(service for service in up["services"] if service["name"] == "silver-0")
        os.kill(worker["pid"], signal.SIGKILL)
        eventually(lambda: "offloaded" in (tmp_path / "offload.log").read_text())
        eventually(lambda: "dead letters" in (folder.logs / "silver-0.log").read_text())
        for name in ("producer", "offload", "simulator"):
            running[name].send_signal(signal.SIGTERM)
            assert running[name].wait(60) == 0, name
    finally:
        for process in running.values():
            process.kill()
            process.wait()
        medallion("down", "--data-dir", folder.path, "--timeout", "0", check=False)
    logs = {path.stem: events(path.read_text()) for path in [*folder.logs.glob("*.log"), *tmp_path.glob("*.log")]}
    assert set(logs) == {"supervisor", "broker", "clickhouse", "silver-0", "producer", "offload", "simulator"}
    assert all(logs.values()), "each has said something"
    dead_letters = [event for event in logs["silver-0"] if event["event"] == "dead letters"]
    assert dead_letters
    for event in dead_letters:
        assert event["topic"] == "market.crypto.trades.binance.raw"
        assert {"exchange", "symbol", "partition", "offset", "reason", "count"} <= set(event)
    assert {event.get("exchange", "kraken") for event in logs["producer"]} == {"kraken"}
    assert "service ended, restarting" in {event["event"] for event in logs["supervisor"]}


@pytest.mark.nightly
@pytest.mark.kafka
def test_the_real_broker_logs_json_too(tmp_path: Path, medallion: Medallion, kafka: None) -> None:
    folder = DataDir(tmp_path / "stack")
    medallion("up", "--data-dir", folder.path, "--detach", "--broker", "kafka")
    medallion("down", "--data-dir", folder.path, "--timeout", "0")
    assert events((folder.logs / "broker.log").read_text())


SPEAK = f"""
import logging, threading, warnings, structlog
from config.process import logs
logs.configure("INFO", "speaker")
structlog.get_logger("producers.x").info("ours", exchange="kraken", symbol="BTC/USD", text="zwölf\\nlines")
structlog.get_logger("producers.x").debug("not shown")
for name in {OURS!r}:
    structlog.get_logger(name + ".x").info("from %s", name)
for name in {LIBRARIES!r}:
    logging.getLogger(name).warning("from %s", name)
    logging.getLogger(name).info("not shown")
warnings.warn("old", DeprecationWarning, stacklevel=1)
thread = threading.Thread(target=lambda: 1 / 0)
thread.start()
thread.join()
raise KeyError("at the end")
"""


def test_libraries_warnings_and_exceptions_are_lines_too() -> None:
    done = subprocess.run([sys.executable, "-c", SPEAK], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    found = events(done.stderr)
    assert found[0] | {"timestamp": ""} == {
        "timestamp": "", "level": "info", "logger": "producers.x", "service": "speaker", "event": "ours",
        "exchange": "kraken", "symbol": "BTC/USD", "text": "zwölf\nlines",
    }  # fmt: skip
    assert [event["logger"] for event in found[1:]] == [
        *(name + ".x" for name in OURS),
        *LIBRARIES,
        "py.warnings",
        "__main__",
        "__main__",
    ]
    assert "ZeroDivisionError" in found[-2]["exception"]
    assert "at the end" in found[-1]["exception"]


def test_a_terminal_gets_text() -> None:
    master, slave = pty.openpty()
    try:
        done = subprocess.run([sys.executable, "-c", SPEAK], stderr=slave, check=False)
        shown = os.read(master, 65_536).decode()
    finally:
        os.close(slave)
        os.close(master)
    assert done.returncode == 1
    first = shown.splitlines()[0]
    assert "ours" in first
    assert not first.startswith("{")
