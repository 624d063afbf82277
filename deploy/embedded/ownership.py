"""Folders and secrets that only the user who runs the stack can use."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from config.errors import MedallionError

FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_SECRET_BYTES = 32


class OwnershipError(MedallionError):
    """A file or folder that the stack needs is not ours. The message says what to do next."""


def check(folder: Path, *, is_ours: bool) -> None:
    """Check that `take` would succeed for this folder. Changes nothing, and the folder need not exist.

    Args:
        folder: absolute.
        is_ours: as for `take`.

    Raises:
        OwnershipError: the folder, or a link on its path, belongs to somebody else; it is a link; it holds other files.
        OSError: the folder cannot be read.
    """
    if folder.is_symlink():
        raise OwnershipError(f"{folder} is a symbolic link: name the folder that it leads to.")
    for parent in folder.parents:
        if parent.is_symlink() and parent.lstat().st_uid not in {0, os.geteuid()}:
            raise OwnershipError(f"{parent} is a symbolic link of another user: choose another folder with --data-dir.")
    if not folder.exists():
        return
    found = folder.lstat()
    if found.st_uid != os.geteuid():
        raise OwnershipError(f"{folder} belongs to user {found.st_uid}: choose another folder with --data-dir.")
    if is_ours or stat.S_IMODE(found.st_mode) == FOLDER_MODE:
        return
    if found.st_mode & stat.S_ISVTX or any(folder.iterdir()):
        raise OwnershipError(
            f"{folder} is open to other users and holds something already: choose an empty folder with --data-dir, "
            f"or close it yourself with `chmod 700 {folder}`."
        )


def take(folder: Path, *, is_ours: bool) -> None:
    """Make a folder that only its owner can enter, or make sure that an existing one is such a folder.

    Args:
        folder: absolute; its parents are made, too.
        is_ours: this program made it before, so its mode may be changed even if it is not empty.

    Raises:
        OwnershipError: as `check`.
        OSError: the folder cannot be made.
    """
    check(folder, is_ours=is_ours)
    folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
    # Another user may have made the folder since the first check.
    check(folder, is_ours=is_ours)
    if stat.S_IMODE(folder.lstat().st_mode) != FOLDER_MODE:
        folder.chmod(FOLDER_MODE)


def make_secret(file: Path) -> None:
    """Write a new password to a file that only its owner can read. An existing password stays.

    Raises:
        OwnershipError: the file is a link, or somebody else's.
        OSError: it cannot be written.
    """
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, _FILE_MODE)
    except FileExistsError:
        found = file.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid():
            raise OwnershipError(f"{file} is not your file: remove it, and a new one is made.") from None
        file.chmod(_FILE_MODE)
        return
    with os.fdopen(descriptor, "w", encoding="ascii") as opened:
        opened.write(secrets.token_urlsafe(_SECRET_BYTES) + "\n")
