"""`python -m deploy.digests` with Docker's own buildx, against a registry's interface."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from deploy import digests
from tests.go_programs import program
from tests.http_server import serving
from tests.offload.servers.maven import MissingError

pytestmark = [pytest.mark.deploy_real, pytest.mark.nightly, pytest.mark.timeout(7200)]
INDEX = json.dumps(
    {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}
).encode()
DIGEST = f"sha256:{hashlib.sha256(INDEX).hexdigest()}"


@pytest.fixture
def registry() -> Iterator[str]:
    """A registry with one image, `desk/one:1.2`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            known = self.path.startswith("/v2/desk/one/manifests/") and self.path.endswith(("1.2", DIGEST))
            body = INDEX if known else b"{}"
            self.send_response(200 if known or self.path == "/v2/" else 404)
            self.send_header("Content-Type", "application/vnd.oci.image.index.v1+json")
            self.send_header("Docker-Content-Digest", DIGEST)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

    with serving(Handler) as port:
        yield f"localhost:{port}"


def test_the_tags_digest_is_written(
    registry: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        buildx = program(Path(__file__).parent / "compose", "github.com/docker/buildx/cmd/buildx")
    except MissingError as error:
        pytest.skip(str(error))
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path / "docker"))
    file = tmp_path / "Dockerfile"
    file.write_text(f"FROM {registry}/desk/one:1.2 AS base\n")
    assert digests.main(["--client", str(buildx), "--write", str(file)]) == 0, capsys.readouterr().err
    assert file.read_text() == f"FROM {registry}/desk/one:1.2@{DIGEST} AS base\n"
    file.write_text(f"FROM {registry}/desk/two:1.2\n")
    assert digests.main(["--client", str(buildx), "--write", str(file)]) == 1
    assert "No digest of" in capsys.readouterr().err
