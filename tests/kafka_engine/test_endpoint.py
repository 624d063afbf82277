"""Only the node's own engine can post to its sinks, and it hears what became of the rows."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import suppress

import pytest

from deploy.embedded.clickhouse.endpoint import TABLE_HEADER, TOKEN_HEADER, Endpoint, SinkRefusedError


class Taken:
    """What the endpoint was given; refuses the table "full"."""

    def __init__(self) -> None:
        self.posts: list[tuple[str, bytes]] = []

    def __call__(self, table: str, data: bytes) -> None:
        if table == "full":
            raise SinkRefusedError("no room")
        self.posts.append((table, data))


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def endpoint(taken: Taken) -> Iterator[Endpoint]:
    made = Endpoint()
    made.start(taken)
    yield made
    made.close()


def post(
    endpoint: Endpoint, table: str, body: object, token: str | None = None, method: str = "POST"
) -> tuple[int, str]:
    host = endpoint.address.url.removeprefix("http://").rstrip("/")
    connection = http.client.HTTPConnection(host, timeout=10)
    headers = {TABLE_HEADER: table, TOKEN_HEADER: endpoint.address.token if token is None else token}
    connection.request(method, "/", body=body, headers=headers)  # type: ignore[arg-type]
    answer = connection.getresponse()
    found = answer.status, answer.read().decode()
    connection.close()
    return found


def test_whole_and_chunked_posts_are_taken(endpoint: Endpoint, taken: Taken) -> None:
    assert post(endpoint, "a", b"whole") == (200, "")
    assert post(endpoint, "b", iter([b"in ", b"chunks"])) == (200, "")
    assert taken.posts == [("a", b"whole"), ("b", b"in chunks")]


@pytest.mark.parametrize("token", ["", "wrong", "w\xf6rong"])
def test_without_the_token_nothing_is_read(endpoint: Endpoint, taken: Taken, token: str) -> None:
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        post(endpoint, "a", b"rows", token)
    assert taken.posts == []


@pytest.mark.parametrize("head", [b"\0\xff\r\n\r\n", b"POST / HTTP/1.1\r\n" + b"a: b\r\n" * 1_000, b"a" * 200_000])
def test_garbage_ends_its_connection_only(
    endpoint: Endpoint, taken: Taken, head: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http.client, "_MAXHEADERS", 10_000)  # as clickhouse-connect leaves it
    host, port = endpoint.address.url.removeprefix("http://").rstrip("/").split(":")
    with socket.create_connection((host, int(port)), 10) as connection, suppress(ConnectionError):
        connection.sendall(head)
        assert connection.recv(1) == b""
    assert post(endpoint, "a", b"rows") == (200, "")
    assert taken.posts == [("a", b"rows")]


def test_refused_rows_fail_the_insert_with_the_reason(endpoint: Endpoint) -> None:
    assert post(endpoint, "full", b"rows") == (503, "no room")


def test_a_sink_is_not_read(endpoint: Endpoint) -> None:
    assert post(endpoint, "a", None, method="GET")[0] == 405


def test_every_start_has_a_token_of_its_own(endpoint: Endpoint) -> None:
    other = Endpoint()
    assert other.address.token != endpoint.address.token
    assert other.address.url.startswith("http://127.0.0.1:")
    other.close()
