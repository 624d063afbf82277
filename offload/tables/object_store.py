"""Opens a bucket at the address in our settings, and trusts a private certificate authority."""

from __future__ import annotations

from typing import Any

from pyarrow.fs import FileSystem, S3FileSystem
from pyiceberg.io import S3_ACCESS_KEY_ID, S3_ENDPOINT, S3_REGION, S3_SECRET_ACCESS_KEY
from pyiceberg.io.pyarrow import PyArrowFileIO

from config.settings import Settings

CA_FILE = "s3.ca-file"
OWN_ENDPOINT = "s3.own-endpoint"


def file_io(settings: Settings) -> dict[str, Any]:
    """The catalog properties that choose how files are read and written."""
    properties = {OWN_ENDPOINT: settings.s3_endpoint, CA_FILE: str(settings.s3_ca_file or "")}
    return {
        "py-io-impl": f"{__name__}.{SettingsFileIO.__name__}",
        **{name: value for name, value in properties.items() if value},
    }


class SettingsFileIO(PyArrowFileIO):
    """PyArrow's file access. S3 is at the property `s3.own-endpoint` and trusts the authorities of `s3.ca-file`.

    A REST catalog gives its clients the bucket's address (`s3.endpoint`), and pyiceberg prefers it to the client's own
    setting. This address is the one that containers use, ClickHouse among them (`offload.clickhouse.locations`). A
    client on the host needs another address. PyArrow reads authorities from a file; pyiceberg (0.12.0) has no property
    for that.
    """

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
        own_endpoint = self.properties.get(OWN_ENDPOINT)
        if CA_FILE in self.properties:
            return S3FileSystem(
                endpoint_override=own_endpoint or self.properties.get(S3_ENDPOINT),
                access_key=self.properties.get(S3_ACCESS_KEY_ID),
                secret_key=self.properties.get(S3_SECRET_ACCESS_KEY),
                region=self.properties.get(S3_REGION),
                tls_ca_file_path=self.properties[CA_FILE],
            )
        if own_endpoint and own_endpoint != self.properties.get(S3_ENDPOINT):
            return PyArrowFileIO({**self.properties, S3_ENDPOINT: own_endpoint})._initialize_s3_fs(netloc)
        return super()._initialize_s3_fs(netloc)
