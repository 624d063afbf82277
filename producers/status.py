"""The state of a live producer, served as `/status` and kept in a file for `medallion status`."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec
import psutil
import structlog

from config.places import state_folder
from config.whole_file import write_whole

# The state is written every second. An older one belongs to a producer that hangs.
STALE_S = 10.0
_log = structlog.get_logger(__name__)


class ProducerState(msgspec.Struct, frozen=True):
    """The state at one moment. Times are in s since the epoch, counts since the start.

    `connections`: how many of `wanted_connections` are subscribed. `breakers`: by interface (stream, rest), closed,
    half-open or open. `troubles`: what is wrong, by name. `undelivered`: messages that wait for the broker.
    `symbol_states`: by symbol, a value of `producers.stream.symbol_states.SymbolState`. `symbol_troubles`: by symbol,
    why its trades do not arrive. `lanes`: `wanted_connections` under its old name.
    """

    exchange: str
    symbols: list[str]
    pid: int
    broker: str
    started_at: float
    updated_at: float
    connections: int
    breakers: Mapping[str, str]
    troubles: Mapping[str, str]
    trades: int
    published: int
    undelivered: int
    disconnects: int
    gaps_open: int
    metrics_url: str = ""
    symbol_states: Mapping[str, str] = {}
    symbol_troubles: Mapping[str, str] = {}
    wanted_connections: int = 0
    lanes: int = 0

    def __post_init__(self) -> None:
        # Version 0.2 writes and reads only `lanes`. Producers and `medallion status` are not upgraded at one moment.
        wanted = self.wanted_connections or self.lanes
        msgspec.structs.force_setattr(self, "wanted_connections", wanted)
        msgspec.structs.force_setattr(self, "lanes", wanted)


class StatusFile:
    """The file in which this process keeps its state, for `medallion status`."""

    def __init__(self) -> None:
        """Nothing is written yet."""
        self._path = _folder() / f"{os.getpid()}.json"
        self._is_written = True

    def show(self, state: ProducerState) -> None:
        """Write the state. While that fails, the producer goes on; the first failure is logged."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path, msgspec.json.encode(state))
        except OSError as error:
            if self._is_written:
                _log.info("not shown by `medallion status`", path=str(self._path), error=str(error))
            self._is_written = False
        else:
            self._is_written = True

    def end(self) -> None:
        """Remove the file."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_state(data: bytes) -> ProducerState:
    """The state that a producer wrote or served.

    Raises:
        msgspec.DecodeError: `data` is no state.
    """
    return msgspec.json.decode(data, type=ProducerState)


def running() -> list[ProducerState]:
    """The states of this user's producers on this machine, ordered by exchange. Removes the files of killed ones."""
    states = []
    for path in _folder().glob("*.json"):
        try:
            state = read_state(path.read_bytes())
        except (OSError, msgspec.DecodeError):
            continue
        if _is_running(state):
            states.append(state)
        else:
            with contextlib.suppress(OSError):
                path.unlink()
    return sorted(states, key=lambda state: (state.exchange, state.pid))


def _is_running(state: ProducerState) -> bool:
    try:
        # A process that started after the state was written has taken over the process id.
        return psutil.Process(state.pid).create_time() <= state.updated_at
    except psutil.NoSuchProcess:
        return False


def _folder() -> Path:
    return state_folder() / "producers"
