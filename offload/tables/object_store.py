"""Files of a bucket at the address that our settings say, with a certificate of one's own authority."""

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
    own = {OWN_ENDPOINT: settings.s3_endpoint, CA_FILE: str(settings.s3_ca_file or "")}
    return {
        "py-io-impl": f"{__name__}.{SettingsFileIO.__name__}",
        **{name: value for name, value in own.items() if value},
    }


class SettingsFileIO(PyArrowFileIO):
    """PyArrow's files; on S3 at the address of the property `s3.own-endpoint`, trusting whom `s3.ca-file` names.

    A REST catalog tells a table's clients where the bucket is (`s3.endpoint`), and pyiceberg lets that win over what
    the client was told. The catalog speaks for the containers beside it, as ClickHouse's address of the bucket
    (`offload.clickhouse.locations`); a client on the host has another one. PyArrow takes authorities from a file, and
    pyiceberg (0.12.0) has no property for that.
    """

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
        own = self.properties.get(OWN_ENDPOINT)
        if CA_FILE in self.properties:
            return S3FileSystem(
                endpoint_override=own or self.properties.get(S3_ENDPOINT),
                access_key=self.properties.get(S3_ACCESS_KEY_ID),
                secret_key=self.properties.get(S3_SECRET_ACCESS_KEY),
                region=self.properties.get(S3_REGION),
                tls_ca_file_path=self.properties[CA_FILE],
            )
        if own and own != self.properties.get(S3_ENDPOINT):
            return PyArrowFileIO({**self.properties, S3_ENDPOINT: own})._initialize_s3_fs(netloc)
        return super()._initialize_s3_fs(netloc)
