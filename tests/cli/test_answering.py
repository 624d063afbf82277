"""`medallion status` asks the processes now: one that is frozen does not pass for healthy."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from cli.stack.answering import seen_now
from deploy.embedded.layout import ServiceState, StackState
from deploy.embedded.ports import free_ports
from tests.http_server import serving


class NotReady(BaseHTTPRequestHandler):
    """What a worker says during a rebalance: it answers, and the supervisor knows how long that may last."""

    def do_GET(self) -> None:
        self.send_response(503)
        self.end_headers()


def seen(port: int, state: str = "healthy") -> tuple[str, str]:
    """State of a service at this port (0: it has none), and what is said about it."""
    url = f"http://127.0.0.1:{port}/readyz" if port else ""
    service = ServiceState.model_validate({"name": "node", "pid": 1, "state": state, "ready_url": url})
    stack = StackState(
        data_dir=Path("/x"), supervisor_pid=1, started_at=datetime.now(UTC), state="healthy", environment={},
        services=[ServiceState(name="broker", pid=2, state="healthy"), service],
    )  # fmt: skip
    now, silent = seen_now(stack, timeout_s=0.2)
    assert now.services[0] == stack.services[0]
    return now.services[1].state, silent


def test_a_process_that_takes_connections_and_does_not_answer_is_unready() -> None:
    """As one that SIGSTOP has frozen: the kernel accepts the connection."""
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        assert seen(frozen.getsockname()[1]) == ("unready", "node does not answer")


def test_a_process_that_is_away_is_unready() -> None:
    (nobody,) = free_ports(1)
    assert seen(nobody) == ("unready", "node does not answer")


def test_a_process_that_answers_stays_as_the_supervisor_saw_it() -> None:
    with serving(NotReady) as port:
        assert seen(port) == ("healthy", "")


@pytest.mark.parametrize("state", ["starting", "restarting", "stopped"])
def test_a_process_that_is_not_healthy_is_not_asked(state: str) -> None:
    (nobody,) = free_ports(1)
    assert seen(nobody, state) == (state, "")


def test_a_process_without_an_address_is_not_asked() -> None:
    assert seen(0) == ("healthy", "")
