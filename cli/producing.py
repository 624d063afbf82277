"""Live producers as `medallion status` shows them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import msgspec
import requests

from cli.context import print_table
from config.errors import MedallionError
from producers.presence import STALE_S, ProducerState, read_state

_TIMEOUT_S = 5.0


class ProducerError(MedallionError):
    """A producer does not say how it is."""


def ask(url: str) -> ProducerState:
    """The state that a producer serves.

    Raises:
        ProducerError: it does not answer, or something else does.
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
    """What is wrong with a producer, also that it hangs; {} where its trades flow."""
    age_s = time.time() - state.updated_at
    silent = {"process": f"said nothing for {age_s:.0f} s"} if age_s > STALE_S else {}
    return {**silent, **state.troubles}


def as_json(states: Sequence[ProducerState]) -> list[dict[str, object]]:
    """For `--json`."""
    return [{**msgspec.structs.asdict(state), "troubles": troubles(state)} for state in states]


def print_producers(states: Sequence[ProducerState]) -> None:
    """One line a producer."""
    print_table(
        "Producers",
        ("exchange", "pid", "connections", "stream breaker", "REST breaker", "trades", "undelivered", "open gaps",
         "disconnects", "trouble"),
        [
            (
                state.exchange,
                str(state.pid),
                f"{state.connections} of {state.lanes}",
                state.breakers.get("stream", ""),
                state.breakers.get("rest", ""),
                state.trades,
                state.undelivered,
                state.gaps_open,
                state.disconnects,
                "; ".join(troubles(state).values()),
            )
            for state in states
        ],
        empty="none runs here",
    )  # fmt: skip
