"""Files of a bucket whose certificate an authority of one's own has signed."""

from __future__ import annotations

from typing import Any

from pyarrow.fs import FileSystem, S3FileSystem
from pyiceberg.io import S3_ACCESS_KEY_ID, S3_ENDPOINT, S3_REGION, S3_SECRET_ACCESS_KEY
from pyiceberg.io.pyarrow import PyArrowFileIO

from config.settings import Settings

CA_FILE = "s3.ca-file"


def file_io(settings: Settings) -> dict[str, Any]:
    """The catalog properties that choose how files are read and written."""
    if settings.s3_ca_file is None:
        return {"py-io-impl": f"{PyArrowFileIO.__module__}.{PyArrowFileIO.__name__}"}
    return {"py-io-impl": f"{__name__}.{TrustingFileIO.__name__}", CA_FILE: str(settings.s3_ca_file)}


class TrustingFileIO(PyArrowFileIO):
    """PyArrow's files; on S3 it trusts the authorities in the file that the property `s3.ca-file` names.

    PyArrow takes such a file, and pyiceberg (0.12.0) has no property for it.
    """

    def _initialize_s3_fs(self, netloc: str | None) -> FileSystem:
        del netloc
        return S3FileSystem(
            endpoint_override=self.properties.get(S3_ENDPOINT),
            access_key=self.properties.get(S3_ACCESS_KEY_ID),
            secret_key=self.properties.get(S3_SECRET_ACCESS_KEY),
            region=self.properties.get(S3_REGION),
            tls_ca_file_path=self.properties[CA_FILE],
        )
