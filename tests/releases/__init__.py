"""Files of earlier releases, so that a clone without history has them, too. The README says how they were made."""

from __future__ import annotations

import functools
import tarfile
from pathlib import Path

_HERE = Path(__file__).parent


def extracted(version: str, folder: Path) -> Path:
    """Unpack the files of a release, e.g. `0.1.0`, into a folder, and return the folder."""
    with _archive(version) as files:
        # Python 3.11.2 has no filters. The archive is our own.
        files.extraction_filter = getattr(tarfile, "data_filter", None)
        files.extractall(folder)
    return folder


@functools.cache
def text_of(version: str, name: str) -> str:
    """The text of one file of a release."""
    with _archive(version) as files:
        found = files.extractfile(name)
        assert found is not None, f"{name} is no file"
        return found.read().decode()


def _archive(version: str) -> tarfile.TarFile:
    path = _HERE / f"{version}.tar.xz"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: make it with the command in {_HERE / 'README.md'}")
    return tarfile.open(path)
