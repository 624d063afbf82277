"""Invariants of a producer as a process: it says how it is, waits for its broker in bounded memory, hides no loss."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ccxt
import msgspec
import psutil
import pytest
from confluent_kafka import Message
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed
from typer.testing import CliRunner

from cli.main import app
from config.settings import Settings
from producers.simulator import synthetic
from producers.status import ProducerState, StatusFile, read_state, running
from tests.producers import market_lists

DEADLINE_S = 60.0
# Frames larger than life fill the buffer (64 MiB) sooner.
PAD, FRAMES = 40_000, 3_000
FLUSH_S = 2.0

eventually = retry(
    stop=stop_after_delay(DEADLINE_S),
    wait=wait_fixed(0.05),
    retry=retry_if_exception_type((OSError, AssertionError, KeyError, ValueError)),
    reraise=True,
)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def get(url: str) -> tuple[int, Any]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def metric(port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        found = re.search(rf"^medallion_producer_{re.escape(name)} (\S+)$", answer.read().decode(), re.MULTILINE)
    assert found, name
    return float(found[1])


@contextmanager
def process(output: Path, *arguments: object, **environment: str) -> Iterator[subprocess.Popen[bytes]]:
    """A module run by this Python, what it says in a file; ended, whatever happens."""
    with output.open("w") as said:
        started = subprocess.Popen(
            [sys.executable, "-m", *map(str, arguments)], env=os.environ | environment, stdout=said, stderr=said
        )
    try:
        yield started
    finally:
        if started.poll() is None:
            started.kill()
        started.wait()


@pytest.fixture(autouse=True)
def state_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only this test's producers are found."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


FIRST = 10


def frame(number: int) -> str:
    """Two of three trades are ETHUSDT's; all but the first ones come five seconds later."""
    symbol, own = ("ETHUSDT", number - number // 3 - 1) if number % 3 else ("BTCUSDT", number // 3)
    moment = 1_700_000_000_000 + (5_000 if number >= FIRST else 0)
    trade = f'"e":"trade","s":"{symbol}","t":{own},"p":"1.50","q":"2","T":{moment},"m":true'
    return "{" + trade + f',"pad":"{"x" * PAD}"}}\n'


def test_sigterm_while_the_broker_is_gone_says_what_was_not_delivered(tmp_path: Path) -> None:
    recording = tmp_path / "trades.jsonl"
    with recording.open("w") as file:
        file.writelines(map(frame, range(FRAMES)))
    port = free_port()
    with (
        process(tmp_path / "broker.log", "deploy.embedded.broker", "--state", tmp_path / "broker") as broker,
        process(
            tmp_path / "simulator.log", "producers.simulator",
            "--recording", f"binance={recording}", "--speed", "1", "--wait-for-subscribers",
            "--state", tmp_path / "simulator",
        ),
    ):  # fmt: skip
        servers = eventually((tmp_path / "broker").read_text)()
        simulator = eventually((tmp_path / "simulator").read_text)()
        with process(
            tmp_path / "producer.log", "cli", "produce", "--exchange", "binance", "--symbols", "BTCUSDT,ETHUSDT",
            "--endpoint", f"ws://{simulator}/binance", "--flush-timeout", FLUSH_S,
            MEDALLION_KAFKA_BOOTSTRAP_SERVERS=servers, MEDALLION_METRICS_PORT=str(port),
        ) as producer:  # fmt: skip

            def first_delivered() -> None:
                assert metric(port, 'trades_total{exchange="binance"}') >= FIRST
                assert metric(port, 'undelivered{exchange="binance"}') == 0

            eventually(first_delivered)()
            broker.kill()

            def full() -> None:
                status, verdict = get(f"http://127.0.0.1:{port}/readyz")
                assert status == 503
                assert verdict["troubles"]["broker"] == "the buffer is full, reading stands still"

            buffered = 64e6 / PAD

            def all_that_fits_is_read() -> float:
                # Counters are shown a moment after what they count.
                read = metric(port, 'trades_total{exchange="binance"}')
                assert buffered * 0.8 < read < buffered * 1.3
                return read

            eventually(full)()
            assert get(f"http://127.0.0.1:{port}/healthz")[0] == 200, "a broker that is away is no reason for a restart"
            read = eventually(all_that_fits_is_read)()
            assert psutil.Process(producer.pid).memory_info().rss < 400e6
            sent = get(f"http://{simulator}/status")[1]["exchanges"]["binance"]["frames_sent"]
            assert sent < FRAMES, "the exchange could send everything: the reading did not stop"

            producer.send_signal(signal.SIGTERM)
            producer.wait(timeout=FLUSH_S + 30)
    said = " ".join((tmp_path / "producer.log").read_text().split())
    assert producer.returncode == 1, said
    waiting = re.search(r"(\d+) of (\d+) messages were not acknowledged", said)
    untaken = re.search(r"and (\d+) more were never taken", said)
    assert waiting is not None, said
    lost = dict(re.findall(r"binance (\w+) ([\d,]+)", said.split("Not delivered:")[-1]))
    counts = {symbol: int(count.replace(",", "")) for symbol, count in lost.items()}
    assert counts.keys() == {"BTCUSDT", "ETHUSDT"}, said
    # What had arrived when the connection was closed was still read, and is counted.
    acknowledged = int(waiting[2]) - int(waiting[1])
    assert acknowledged >= FIRST
    assert sum(counts.values()) == int(waiting[1]) + int(untaken[1] if untaken else 0) >= read - acknowledged
    # Of what was acknowledged after the first ones nobody knows which market's it was.
    assert abs(counts["ETHUSDT"] - 2 * counts["BTCUSDT"]) <= 2 + 2 * (acknowledged - FIRST)
    assert said.count("not delivered") >= 2, "one log line a market"


# Of the fast tier: test_refused_symbols.py has the state of each symbol.
@pytest.mark.nightly
def test_status_shows_each_producer_s_connection_and_breakers(tmp_path: Path, broker: str) -> None:
    """Up, then with an exchange that refuses every connection, then killed."""
    port, exchange_port = free_port(), free_port()

    def shown(*arguments: object) -> tuple[int, Any]:
        result = CliRunner().invoke(app, ["status", "--json", *map(str, arguments)])
        return result.exit_code, json.loads(result.stdout)["producers"]

    with (
        process(
            tmp_path / "simulator.log", "producers.simulator",
            "--walk", "kraken=BTC/USD", "--port", exchange_port, "--wait-for-subscribers",
            "--state", tmp_path / "simulator",
        ) as simulator,
        process(
            tmp_path / "producer.log", "cli", "produce", "--exchange", "kraken", "--symbols", "BTC/USD",
            "--endpoint", f"ws://127.0.0.1:{exchange_port}/kraken",
            MEDALLION_KAFKA_BOOTSTRAP_SERVERS=broker, MEDALLION_METRICS_PORT=str(port),
        ) as producer,
    ):  # fmt: skip
        url = f"http://127.0.0.1:{port}"

        def up() -> None:
            (state,) = running()
            assert (state.exchange, state.symbols) == ("kraken", ["BTC/USD"])
            assert (state.connections, state.wanted_connections) == (1, 1)
            assert state.trades > 0

        eventually(up)()
        code, (state,) = shown("--producer", url)
        assert (code, state["troubles"], state["pid"]) == (0, {}, producer.pid)
        # No stack runs here: the producers of this machine are what there is to show.
        code, (found,) = shown()
        assert (code, found["pid"]) == (0, producer.pid)
        assert state["breakers"] == {"stream": "closed", "rest": "closed"}
        assert (state["connections"], state["broker"], state["metrics_url"]) == (1, broker, url)

        simulator.kill()

        def refused() -> None:
            code, (state,) = shown("--producer", url)
            assert (code, state["connections"], state["breakers"]["stream"]) == (1, 0, "open")
            assert "stream" in state["troubles"]

        eventually(refused)()
        assert metric(port, 'breaker{exchange="kraken",interface="stream",state="open"}') == 1
        text = CliRunner().invoke(app, ["status", "--producer", url])
        assert "open" in text.stdout
        producer.kill()
        producer.wait()
        assert running() == []
    gone = CliRunner().invoke(app, ["status", "--producer", url])
    assert gone.exit_code == 1
    assert "MEDALLION_METRICS_PORT" in str(gone.exception)


def test_a_name_of_ccxt_and_saved_markets_are_enough(
    tmp_path: Path, broker: str, settings: Settings, consume: Callable[[str], list[Message]]
) -> None:
    """The exchange's REST interface is asked nothing: its market list was saved by ccxt itself."""
    recording, markets, port = tmp_path / "a.jsonl", tmp_path / "markets.json", free_port()
    synthetic.write(recording, "binance", ["ETHUSDT"], seconds=30, rate=10, seed=5, start_us=1_760_000_000_000_000)
    answer = market_lists.binance(market_lists.binance_spot("ETHUSDT", "ETH", "USDT"))
    with market_lists.answering({"/api/v3/exchangeInfo": answer}) as rest:
        asked = ccxt.binanceus()
        asked.session.trust_env = False
        asked.urls["api"] = dict.fromkeys(asked.urls["api"], f"{rest}/api/v3")
        markets.write_text(json.dumps(asked.load_markets()))
    with process(
        tmp_path / "simulator.log", "producers.simulator", "--recording", f"binance={recording}", "--speed", "max",
        "--wait-for-subscribers", "--state", tmp_path / "simulator",
    ):  # fmt: skip
        simulator = eventually((tmp_path / "simulator").read_text)()
        with process(
            tmp_path / "producer.log", "cli", "produce", "--exchange", "binanceus", "--symbols", "ETH/USDT",
            "--endpoint", f"ws://{simulator}/binance", "--markets", markets,
            MEDALLION_KAFKA_BOOTSTRAP_SERVERS=broker, MEDALLION_METRICS_PORT=str(port),
        ) as producer:  # fmt: skip

            def all_published() -> None:
                assert metric(port, 'trades_total{exchange="binanceus"}') == 300

            eventually(all_published)()
            assert running()[0].breakers["stream"] == "closed"
            producer.send_signal(signal.SIGTERM)
            assert producer.wait(timeout=DEADLINE_S) == 0, (tmp_path / "producer.log").read_text()
    values = [json.loads(message.value()) for message in consume(settings.raw_topic("binanceus"))]
    assert len(values) == 300
    assert {(value["exchange"], value["symbol"]) for value in values} == {("binanceus", "ETH/USDT")}
    lines = recording.read_text()
    assert all(value["payload"] in lines for value in values)


def test_a_producer_that_hangs_is_a_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cli.stack.producing import troubles

    state = ProducerState(
        exchange="binance", symbols=["X"], pid=os.getpid(), broker="b", started_at=1.0,
        updated_at=psutil.Process().create_time() + 1, connections=1, wanted_connections=1, breakers={}, troubles={},
        trades=1, published=1, undelivered=0, disconnects=0, gaps_open=0,
    )  # fmt: skip
    mine = StatusFile()
    mine.show(state)
    assert running() == [state]
    monkeypatch.setattr("cli.stack.producing.time.time", lambda: state.updated_at + 11)
    assert "said nothing for 11 s" in troubles(state)["process"]
    mine.end()
    assert running() == []


def test_a_state_has_the_wanted_connections_under_their_old_name_too() -> None:
    """Whichever of producer and `medallion status` is older: version 0.2 writes and reads only `lanes`."""
    state = ProducerState("x", [], 1, "", 0.0, 0.0, 2, {}, {}, 0, 0, 0, 0, 0, wanted_connections=3)
    written = json.loads(msgspec.json.encode(state))
    assert (written["wanted_connections"], written["lanes"]) == (3, 3)
    older = {name: value for name, value in written.items() if name != "wanted_connections"}
    assert read_state(json.dumps(older).encode()) == state


def test_a_folder_that_cannot_be_written_stops_no_producer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    one: Callable[[], StatusFile] = StatusFile
    here = one()
    state = ProducerState("x", [], 1, "", 0.0, 0.0, 0, {}, {}, 0, 0, 0, 0, 0)
    here.show(state)
    here.show(state)
    here.end()
    assert capsys.readouterr().out.count("not shown by `medallion status`") <= 1
    # It is shown again as soon as it can be written.
    (tmp_path / "file").unlink()
    here.show(state)
    assert [*tmp_path.rglob("*.json")] != []
