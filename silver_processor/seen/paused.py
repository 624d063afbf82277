"""Silver takes no rows of a day for a while: how the worker is told."""

from __future__ import annotations


class PausedError(RuntimeError):
    """Silver takes no rows of a day that is being replaced; nothing was inserted: split anew, then try again."""
