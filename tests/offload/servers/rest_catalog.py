"""A REST catalog of the tests' own: Apache Iceberg's reference server over a database, its jars fetched by Maven."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import urllib3
from tenacity import retry, retry_if_exception_type, stop_after_delay, wait_fixed

from tests.offload.servers.maven import jars
from tests.offload.servers.s3_server import free_port

POM = Path(__file__).parent / "rest" / "pom.xml"


def find() -> Path:
    """The folder of the jars, fetched if they never were.

    Raises:
        MissingError: no Java or Maven here, or Maven could not fetch.
    """
    return jars(POM)


@contextmanager
def rest_catalog(
    folder: Path, warehouse: str, s3_endpoint: str, credentials: Mapping[str, str], database: str = ""
) -> Iterator[str]:
    """The catalog while the context lasts; gives its address. It writes metadata to the bucket itself.

    `database`: a JDBC address; without one a file of `folder`.
    """
    libraries, port = find(), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    configuration = {
        "CATALOG_CATALOG__IMPL": "org.apache.iceberg.jdbc.JdbcCatalog",
        "CATALOG_URI": database or f"jdbc:sqlite:{folder}/catalog.db",
        "CATALOG_JDBC_SCHEMA__VERSION": "V1",
        "CATALOG_WAREHOUSE": warehouse,
        "CATALOG_IO__IMPL": "org.apache.iceberg.aws.s3.S3FileIO",
        "CATALOG_S3_ENDPOINT": s3_endpoint,
        "CATALOG_S3_PATH__STYLE__ACCESS": "true",
        "CATALOG_REST_PORT": str(port),
    }
    command = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{libraries}/*"]
    command.append("org.apache.iceberg.rest.RESTCatalogServer")
    environment = {**os.environ, **credentials, **configuration}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env=environment) as server,
    ):
        try:
            _wait_for(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
            server.wait(30)


@retry(
    retry=retry_if_exception_type(urllib3.exceptions.HTTPError),
    stop=stop_after_delay(120),
    wait=wait_fixed(0.2),
    reraise=True,
)
def _wait_for(port: int) -> None:
    urllib3.request("GET", f"http://127.0.0.1:{port}/v1/config", retries=False, timeout=10)
