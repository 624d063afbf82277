"""Strangers, other sites' pages and failures: what passes the guard, and what the answer says."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

import serving
from config.settings import Settings
from serving.errors import ServingError
from serving.guard import HANDLERS, Guard
from serving.server import serve

TOKEN = "the tests' own"


@dataclass
class Answer:
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


def ask(guard: Guard, path: str, query: str = "", **headers: str) -> Answer:
    """One GET, without a server."""
    answer = Answer()
    given = {"host": "127.0.0.1:8686", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "scheme": "http",
        "server": ("127.0.0.1", 8686),
        "root_path": "",
        "http_version": "1.1",
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    asyncio.run(guard(scope, receive, send))
    return answer


async def page(request: Request) -> Response:
    return PlainTextResponse("inside")


async def fails(request: Request) -> Response:
    raise ZeroDivisionError("a secret path /srv/x")


def guard(token: str = "") -> Guard:
    routes = [Route("/", page), Route("/healthz", page), Route("/fails", fails)]
    return Guard(Starlette(routes=routes, exception_handlers=HANDLERS), token)


@pytest.mark.parametrize("host", ["127.0.0.1:8686", "localhost", "[::1]:8686"])
def test_names_of_this_machine_are_answered(host: str) -> None:
    assert ask(guard(), "/", host=host).status == 200


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "", "[::", "10.0.0.1"])
def test_another_name_that_points_here_is_not(host: str) -> None:
    assert ask(guard(), "/", host=host).status == 403


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://127.0.0.1:9999"])
def test_another_sites_page_gets_nothing(origin: str) -> None:
    answer = ask(guard(), "/", origin=origin)
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers
    assert ask(guard(), "/", origin="http://127.0.0.1:8686").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"X_MBX_APIKEY": TOKEN},
        {"authorization": f"Bearer {TOKEN}"},
        {"cookie": f'medallion_token="{TOKEN}"'},
    ],
)
def test_who_knows_the_token_is_let_in(headers: dict[str, str]) -> None:
    known = {name.lower(): value for name, value in headers.items()}
    assert ask(guard(TOKEN), "/", host="desk.example", **known).status == 200


@pytest.mark.parametrize("headers", [{}, {"x_mbx_apikey": "wrong"}, {"cookie": "medallion_token="}, {"cookie": ";=;"}])
def test_who_does_not_is_not(headers: dict[str, str]) -> None:
    answer = ask(guard(TOKEN), "/", **headers)
    assert (answer.status, json.loads(answer.body)["code"]) == (401, -2015)
    assert ask(guard(TOKEN), "/healthz", **headers).status == 200
    assert ask(guard(TOKEN), "/metrics", **headers).status == 404  # the guard lets it through


def test_a_browser_gives_the_token_once_and_keeps_it_out_of_the_address() -> None:
    answer = ask(guard("abc"), "/", "token=abc")
    assert (answer.status, answer.headers["location"]) == (303, "/")
    assert "HttpOnly" in answer.headers["set-cookie"]
    assert ask(guard("abc"), "/", "token=abd").status == 401


def test_a_failure_tells_no_inside() -> None:
    answer = ask(guard(), "/fails")
    assert answer.status == 503
    assert json.loads(answer.body)["code"] == -1001
    assert b"secret" not in answer.body


def test_every_answer_says_what_a_browser_may_do() -> None:
    for answer in (ask(guard(), "/"), ask(guard(), "/fails"), ask(guard(TOKEN), "/")):
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "desk.example"])
def test_nobody_beyond_this_machine_without_a_token(host: str) -> None:
    with pytest.raises(ServingError, match="MEDALLION_SERVING_TOKEN"):
        serve(Settings(serving_host=host), {})


def test_a_port_that_is_taken_is_said_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ServingError, match=rf"Port {port} on 127.0.0.1 .* --port .* `medallion status`"):
            serve(Settings(serving_port=port), {})


def test_the_page_writes_text_at_one_place_and_never_as_markup() -> None:
    """`ask.js` shows hidden characters as escapes: what another script wrote by itself would not be."""
    own = [path for path in (Path(serving.__file__).parent / "page").glob("*.js") if ".standalone." not in path.name]
    scripts = {path.name: path.read_text(encoding="utf-8") for path in own}
    assert {name for name, text in scripts.items() if re.search(r"\.textContent\s*=[^=]", text)} == {"ask.js"}
    markup = re.compile(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(")
    assert not [name for name, text in scripts.items() if markup.search(text)]
