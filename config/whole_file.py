"""Writes a file as a whole: a reader sees the old content or the new one, and a failure leaves nothing behind."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4


def write_whole(path: Path, content: bytes) -> None:
    """Replace the file, or make it. What is no regular file, such as a pipe, is written to.

    Raises:
        OSError: the content cannot be written, for example because the disk is full; the file is as before.
    """
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    # A link stays a link.
    target = path.resolve()
    draft = target.with_name(f".{uuid4().hex}")
    try:
        draft.write_bytes(content)
        draft.replace(target)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
