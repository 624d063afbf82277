"""A real Alertmanager with compose's own file, and a desk that its webhook reaches."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import requests
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from deploy.embedded.ports import free_ports
from tests.deploy.conftest import load_compose, resolve
from tests.http_server import serving
from tests.offload.servers.maven import MissingError


class Desk:
    """A receiver of webhooks; `status` is what it answers."""

    def __init__(self) -> None:
        self.alerts: list[dict[str, Any]] = []
        self.status = 200

    @contextmanager
    def listening(self) -> Iterator[str]:
        """Its address while the context lasts."""
        desk = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if desk.status == 200:
                    desk.alerts.extend(body["alerts"])
                self.send_response(desk.status)
                self.end_headers()

        with serving(Handler) as port:
            yield f"http://127.0.0.1:{port}/"


def find(program: str) -> str:
    """`prometheus` or `alertmanager`, which Debian calls `prometheus-alertmanager`.

    Raises:
        MissingError: it is not installed.
    """
    found = shutil.which(program) or shutil.which(f"prometheus-{program}")
    if found is None:
        raise MissingError(f"{program} is not installed (Debian: prometheus, prometheus-alertmanager)")
    return found


def alertmanager_file(**environment: str) -> str:
    """What Compose writes for Alertmanager with these variables of `.env`."""
    content: str = load_compose("docker-compose.yml")["configs"]["alertmanager"]["content"]
    return str(resolve(content, environment))


@contextmanager
def status_of(**environment: str) -> Iterator[str]:
    """Answers `GET /api/v2/status` as Alertmanager with these variables does, where there is none; its address.

    The interface: https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml (`alertmanagerStatus`).
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert self.path == "/api/v2/status"
            body = json.dumps({"config": {"original": alertmanager_file(**environment)}}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    with serving(Handler) as port:
        yield f"http://127.0.0.1:{port}"


@contextmanager
def alertmanager(folder: Path, **environment: str) -> Iterator[str]:
    """Alertmanager while the context lasts; its address.

    Raises:
        MissingError: it is not installed.
    """
    (port,) = free_ports(1)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "alertmanager.yml"
    file.write_text(alertmanager_file(**environment))
    arguments = [f"--config.file={file}", f"--storage.path={folder / 'data'}", "--cluster.listen-address="]
    with running([find("alertmanager"), *arguments], port, folder / "log") as address:
        yield address


@contextmanager
def running(command: list[str], port: int, log: Path) -> Iterator[str]:
    """Prometheus or Alertmanager while the context lasts; its address once it is ready."""
    address = f"http://127.0.0.1:{port}"
    with (
        log.open("wb") as output,
        subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=output, stderr=output) as process,
    ):
        try:
            for attempt in Retrying(
                retry=retry_if_exception_type(requests.RequestException),
                stop=stop_after_delay(60),
                wait=wait_fixed(0.1),
            ):
                with attempt:
                    requests.get(f"{address}/-/ready", timeout=5).raise_for_status()
            yield address
        finally:
            process.terminate()
            process.wait(30)
