"""Places on this machine's disks."""

from __future__ import annotations

import os
from pathlib import Path

from config.errors import MedallionError


class NoHomeError(MedallionError):
    """Nobody says where this user's files are; the message says what to set."""


def state_folder() -> Path:
    """The folder for the state of a user's processes: `$XDG_STATE_HOME/medallion`, or `~/.local/state/medallion`.

    It may not exist yet.

    Raises:
        NoHomeError: the user has no home.
    """
    return _folder("XDG_STATE_HOME", ".local/state")


def cache_folder() -> Path:
    """As `state_folder`, for what can be fetched again: `$XDG_CACHE_HOME/medallion`, or `~/.cache/medallion`."""
    return _folder("XDG_CACHE_HOME", ".cache")


def _folder(variable: str, beneath_home: str) -> Path:
    given = os.environ.get(variable)
    try:
        return (Path(given) if given else Path.home() / beneath_home) / "medallion"
    except RuntimeError as error:  # as of a container's user, who is only a number
        raise NoHomeError(
            f"User {os.geteuid()} has no home: set HOME, or {variable}, to a folder that this user can write."
        ) from error


def nearest(path: Path) -> Path:
    """`path` (absolute) if it exists, else its nearest parent that exists."""
    return next(place for place in (path, *path.parents) if place.exists())
