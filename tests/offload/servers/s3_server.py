"""A real S3 server of the tests' own: VersityGW over a folder, built by Go once and kept in the user's cache."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import urllib3
from pyarrow.fs import S3FileSystem
from pydantic import SecretStr
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from config.settings import Settings
from deploy.embedded.ports import free_ports
from tests.offload.servers.maven import MissingError

MODULE, VERSION = "github.com/versity/versitygw/cmd/versitygw", "v1.8.0"
ACCESS_KEY, SECRET_KEY, REGION, BUCKET = "medallion-test", "medallion-test-secret", "us-east-1", "warehouse"
# What a client without keys of its own takes them from: workers, and ClickHouse.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_REGION": REGION}
BUILD_SECONDS = 900


def free_port() -> int:
    (port,) = free_ports(1)
    return port


def find() -> Path:
    """The program, built if it never was.

    Raises:
        MissingError: no Go here, or it could not fetch and build the module.
    """
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medallion"
    program = cache / f"versitygw-{VERSION}"
    if program.is_file():
        return program
    go = shutil.which("go")
    if go is None:
        raise MissingError("the S3 server is built with Go, and there is no go on the PATH")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "versitygw.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not program.is_file():
            draft = cache / "versitygw.draft"
            done = subprocess.run(
                [go, "install", f"{MODULE}@{VERSION}"],
                env={**os.environ, "GOBIN": str(draft)},
                capture_output=True,
                text=True,
                check=False,
                timeout=BUILD_SECONDS,
            )
            if done.returncode:
                raise MissingError(f"Go could not build the S3 server: {done.stderr.strip()[-300:]}")
            (draft / "versitygw").rename(program)
    return program


@contextmanager
def s3_server(folder: Path) -> Iterator[int]:
    """The server while the context lasts, with the bucket of `folder` or an empty one; gives its port on 127.0.0.1."""
    program, port = find(), free_port()
    for name in ("objects", "attributes"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    command = [str(program), "--port", f"127.0.0.1:{port}", "--access", ACCESS_KEY, "--secret", SECRET_KEY]
    command += ["--region", REGION, "posix", "--sidecar", str(folder / "attributes"), str(folder / "objects")]
    with (folder / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            wait_for(port)
            if not (folder / "objects" / BUCKET).is_dir():
                files(f"http://127.0.0.1:{port}").create_dir(BUCKET, recursive=False)
            yield port
        finally:
            server.terminate()
            server.wait(30)


def over_bucket(settings: Settings, catalog: str, endpoint: str) -> Settings:
    """The settings with a REST catalog and a bucket of this server, or of one with its keys, for a warehouse."""
    return settings.model_copy(
        update={
            "iceberg_catalog_uri": catalog,
            "iceberg_warehouse": "",
            "s3_endpoint": endpoint,
            "s3_region": REGION,
            "s3_access_key_id": ACCESS_KEY,
            "s3_secret_access_key": SecretStr(SECRET_KEY),
        }
    )


def files(endpoint: str) -> S3FileSystem:
    """The server's files, by a client of their own."""
    return S3FileSystem(
        access_key=ACCESS_KEY,
        secret_key=SECRET_KEY,
        region=REGION,
        endpoint_override=endpoint,
        allow_bucket_creation=True,
    )


@retry(
    retry=retry_if_exception_type(urllib3.exceptions.HTTPError),
    stop=stop_after_delay(60),
    wait=wait_fixed(0.1),
    reraise=True,
)
def wait_for(port: int) -> None:
    urllib3.request("GET", f"http://127.0.0.1:{port}/", retries=False, timeout=2)
