"""Files of a cold table's folder: which there are, and their removal."""

from __future__ import annotations

from collections.abc import Iterator

from pyarrow.fs import FileInfo, FileSelector, FileType
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table

from offload.errors import WarehouseError


def list_files(table: Table, folder: str, *, recursive: bool = True) -> Iterator[tuple[str, FileInfo]]:
    """Files of a folder of the table, with what the store says of each; none if there is no such folder.

    Raises:
        WarehouseError: the store is read by something that cannot list.
    """
    if not isinstance(table.io, PyArrowFileIO):
        raise WarehouseError(f"Cannot list {folder}: set py-io-impl to pyiceberg.io.pyarrow.PyArrowFileIO.")
    scheme, netloc, root = PyArrowFileIO.parse_location(folder)
    selector = FileSelector(root, recursive=recursive, allow_not_found=True)
    for info in table.io.fs_by_scheme(scheme, netloc).get_file_info(selector):
        if info.type == FileType.File:
            yield folder + info.path.removeprefix(root), info


def remove(io: FileIO, path: str) -> None:
    """Delete a file, if it is there."""
    try:
        io.delete(path)
    except FileNotFoundError:
        return
