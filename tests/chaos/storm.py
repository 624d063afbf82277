"""A storm over a running stack: SIGKILLs at random moments while recordings are delivered twice, late and shuffled."""

from __future__ import annotations

import contextlib
import gzip
import os
import random
import signal
import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from config.settings import Settings
from deploy.embedded.layout import DataDir, StackState
from producers.kafka.publisher import DeliveryError, KafkaPublisher
from producers.replay.run import replay

# What one stroke kills, and how often it is drawn; names that the stack does not have are never drawn.
STROKES = {
    ("silver-0",): 3,
    ("silver-1",): 3,
    ("clickhouse",): 3,
    ("clickhouse", "silver-0"): 1,
    ("clickhouse", "silver-1"): 1,
    ("silver-0", "silver-1"): 1,
    ("broker",): 1,
    ("broker", "clickhouse", "silver-0"): 1,
}
LONGEST_PAUSE_S = 6.0


@dataclass(frozen=True)
class Chunk:
    """A few messages of one recording, in a file of their own."""

    exchange: str
    file: Path
    lines: tuple[bytes, ...]


def chunks(recordings: dict[Path, str], count: int, folder: Path) -> list[Chunk]:
    """All messages of the recordings (path → exchange) in about `count` chunks, side by side, each in its own order."""
    found: list[tuple[float, Chunk]] = []
    read = {path: _lines(path) for path in recordings}
    size = max(1, sum(map(len, read.values())) // count)
    for path, exchange in recordings.items():
        for start in range(0, len(read[path]), size):
            lines = tuple(read[path][start : start + size])
            chunk = _chunk(exchange, folder / f"{path.name}.{start}.jsonl", lines)
            found.append((start / len(read[path]), chunk))
    return [chunk for _, chunk in sorted(found, key=lambda pair: pair[0])]


def _lines(path: Path) -> list[bytes]:
    data = path.read_bytes()
    text = gzip.decompress(data) if path.suffix == ".gz" else data
    return [line for line in text.split(b"\n") if line.strip()]


def _chunk(exchange: str, file: Path, lines: tuple[bytes, ...]) -> Chunk:
    file.write_bytes(b"\n".join(lines) + b"\n")
    return Chunk(exchange, file, lines)


class Feed:
    """Delivers every chunk once in a shuffled order of chunks (so some are late), and copies of earlier ones, shuffled
    inside, in between."""

    def __init__(self, data_dir: Path, planned: list[Chunk], seed: int) -> None:
        state = DataDir(data_dir).read()
        assert state is not None
        self._settings = Settings.from_environment(state.environment)
        self._random = random.Random(seed)
        # Late by up to a few chunks, and one in ten by any time.
        order = {
            number: number
            + (self._random.uniform(0, 8) if self._random.random() < 0.9 else self._random.uniform(0, len(planned)))
            for number in range(len(planned))
        }
        self._waiting = [planned[number] for number in sorted(order, key=order.__getitem__)]
        self._sent: list[Chunk] = []
        self._publisher: KafkaPublisher | None = None
        self._calm = threading.Event()
        self._fresh_pause = 0.0
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self.copies = self.again = 0

    def start(self, seconds: float) -> None:
        """Spread the fresh chunks over about so many seconds."""
        self._fresh_pause = seconds / len(self._waiting)
        self._thread.start()

    def finish(self) -> None:
        """Deliver what is left without pauses; returns when the broker has all of it."""
        self._calm.set()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while self._waiting:
                fresh = self._waiting.pop(0)
                self._publish(fresh)
                self._sent.append(fresh)
                if self._random.random() < 0.3:
                    self._publish(self._copy(self._random.choice(self._sent)))
                self._calm.wait(self._random.uniform(0, 2 * self._fresh_pause))
            if self._publisher is not None:
                self._publisher.close()
        except BaseException as error:  # noqa: BLE001 - raised again by finish
            self._error = error

    def _publish(self, chunk: Chunk) -> None:
        """Until the broker has all of it: as a publisher's error says, the same input is sent again."""
        while True:
            self._publisher = self._publisher or KafkaPublisher(self._settings)
            try:
                replay([chunk.file], chunk.exchange, self._publisher, self._settings)
            except DeliveryError:
                self.again += 1
                with contextlib.suppress(DeliveryError):
                    self._publisher.close()
                self._publisher = None
                continue
            return

    def _copy(self, chunk: Chunk) -> Chunk:
        self.copies += 1
        lines = list(chunk.lines)
        self._random.shuffle(lines)
        return _chunk(chunk.exchange, chunk.file.with_name(f"copy-{self.copies}.jsonl"), tuple(lines))


@dataclass
class Storm:
    """Kills processes of the stack on `data_dir`."""

    data_dir: Path
    seed: int
    killed: Counter[str] = field(default_factory=Counter)

    def rage(self, kills: int) -> None:
        """Strike at random moments until `kills` living processes were killed."""
        drawn = random.Random(self.seed)
        clock = threading.Event()
        spared = {"broker"} if self._state().broker == "memory" else set()
        names = {service.name for service in self._state().services} - spared
        strokes = {stroke: weight for stroke, weight in STROKES.items() if names.issuperset(stroke)}
        while self.killed.total() < kills:
            clock.wait(drawn.uniform(0, LONGEST_PAUSE_S))
            (stroke,) = drawn.choices(list(strokes), list(strokes.values()))
            for name in stroke:
                self._kill(name)

    def _state(self) -> StackState:
        state = DataDir(self.data_dir).read()
        assert state is not None
        return state

    def _kill(self, name: str) -> None:
        """Kill the process if it lives: one that is being restarted just now is not killed, and not counted."""
        (service,) = (service for service in self._state().services if service.name == name)
        if service.pid is None:
            return
        try:
            process = psutil.Process(service.pid)
            if str(self.data_dir) not in " ".join(process.cmdline()) and "silver_processor" not in process.cmdline():
                return
            if process.status() == psutil.STATUS_ZOMBIE:
                return
            os.kill(service.pid, signal.SIGKILL)
        except (psutil.NoSuchProcess, ProcessLookupError):
            return
        self.killed[name] += 1
