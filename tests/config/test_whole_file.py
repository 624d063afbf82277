"""Invariant: a file is written whole or stays as it was, and nothing else stays in its folder."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config.whole_file import write_whole

OLD, NEW = b"old", b"n" * 100


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """While it lasts, no file of this process can be longer, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("before", [None, OLD])
def test_without_room_the_file_is_as_before(tmp_path: Path, before: bytes | None) -> None:
    path = tmp_path / "file"
    if before is not None:
        path.write_bytes(before)
    with room_for(len(NEW) - 1), pytest.raises(OSError, match="File too large") as failed:
        write_whole(path, NEW)
    assert failed.value.errno == errno.EFBIG
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == ({"file": before} if before else {})
    write_whole(path, NEW)
    assert {one.name: one.read_bytes() for one in tmp_path.iterdir()} == {"file": NEW}


def test_a_link_stays_a_link_and_a_device_a_device(tmp_path: Path) -> None:
    file, link, device = tmp_path / "file", tmp_path / "link", tmp_path / "device"
    file.write_bytes(OLD)
    link.symlink_to(file)
    device.symlink_to("/dev/null")
    for path in (link, device):
        write_whole(path, NEW)
        assert path.is_symlink()
    assert file.read_bytes() == NEW
    assert Path("/dev/null").is_char_device()
    assert sorted(tmp_path.iterdir()) == [device, file, link]
