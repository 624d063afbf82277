"""Asks live producers for their state, and prints it for `medallion status`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence

import msgspec
import requests

from cli.common.context import out, print_table
from config.errors import MedallionError
from producers.status import STALE_S, ProducerState, read_state
from producers.stream.symbol_states import SymbolState

_TIMEOUT_S = 5.0


class ProducerError(MedallionError):
    """A producer does not answer with its state."""


def ask(url: str) -> ProducerState:
    """The state that a producer serves.

    Raises:
        ProducerError: it does not answer, or what answers is not a producer.
    """
    address = url.rstrip("/") + "/status"
    try:
        answer = requests.get(address, timeout=_TIMEOUT_S, allow_redirects=False)
        answer.raise_for_status()
        return read_state(answer.content)
    except (requests.RequestException, msgspec.DecodeError, RecursionError) as error:
        raise ProducerError(
            f"No producer answers at {address}: it serves where its MEDALLION_METRICS_PORT says. ({error})"
        ) from error


def troubles(state: ProducerState) -> dict[str, str]:
    """The troubles of a producer, including that it hangs; {} if there are none."""
    age_s = time.time() - state.updated_at
    silent = {"process": f"said nothing for {age_s:.0f} s"} if age_s > STALE_S else {}
    return {**silent, **state.troubles}


def as_json(states: Sequence[ProducerState]) -> list[dict[str, object]]:
    """For `--json`."""
    return [{**msgspec.structs.asdict(state), "troubles": troubles(state)} for state in states]


def print_producers(states: Sequence[ProducerState]) -> None:
    """Print a line for each producer, then one for each trouble."""
    print_table(
        "Producers",
        ("exchange", "pid", "connections", "symbols", "stream breaker", "REST breaker", "trades", "undelivered",
         "open gaps", "disconnects", "trouble"),
        [
            (
                state.exchange,
                str(state.pid),
                f"{state.connections} of {state.wanted_connections}",
                _symbols(state),
                state.breakers.get("stream", ""),
                state.breakers.get("rest", ""),
                state.trades,
                state.undelivered,
                state.gaps_open,
                state.disconnects,
                ", ".join(troubles(state)),
            )
            for state in states
        ],
        empty="none runs here",
    )  # fmt: skip
    for state in states:
        for words in troubles(state).values():
            out.print(f"{state.exchange} (pid {state.pid}): {words}", soft_wrap=True, markup=False)


def _symbols(state: ProducerState) -> str:
    """How many symbols are in which state: `2 streaming, 1 refused`."""
    counts = Counter(state.symbol_states.values())
    return ", ".join(f"{counts[one]:,} {one}" for one in SymbolState if counts[one])
