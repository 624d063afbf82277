"""A provider on a local port: each path answers by a function, with any status, headers and bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, urlsplit

from tests.http_server import serving

Query = Mapping[str, str]
# Path, query and headers of a request.
Anything = Callable[[str, Query, Mapping[str, str]], "Reply"]


@dataclass
class Reply:
    """One HTTP answer; `body`: bytes as they are, anything else as JSON."""

    body: object
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    kind: str = "application/json"


@contextmanager
def answering(
    paths: Mapping[str, Callable[[Query], Reply]],
    beside: Anything = lambda _path, _query, _headers: Reply({"msg": "no such path"}, 404),
) -> Iterator[str]:
    """The URL of a server with these paths. `beside` answers all others."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            known = paths.get(parts.path)
            reply = known(query) if known else beside(parts.path, query, self.headers)
            body = reply.body if isinstance(reply.body, bytes) else json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in {"Content-Type": reply.kind, **reply.headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}"
