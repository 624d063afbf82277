"""Places on this machine's disks."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """The folder for the state of a user's processes: `$XDG_STATE_HOME/medallion`, or `~/.local/state/medallion`.

    It may not exist yet.
    """
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "medallion"


def nearest(path: Path) -> Path:
    """`path` (absolute) if it exists, else its nearest parent that exists."""
    return next(place for place in (path, *path.parents) if place.exists())
