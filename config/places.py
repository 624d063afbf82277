"""Places on this machine's disks."""

from __future__ import annotations

import os
from pathlib import Path


def state_folder() -> Path:
    """Where processes of one user find each other: `$XDG_STATE_HOME/medallion`, or `~/.local/state/medallion`.

    It need not exist.
    """
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "medallion"


def nearest(path: Path) -> Path:
    """`path`, which is absolute, or the nearest one above it that exists."""
    return next(one for one in (path, *path.parents) if one.exists())
