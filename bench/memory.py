"""Reads the peak resident memory of a process."""

from __future__ import annotations

import re
from pathlib import Path

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def peak_rss_kib(process: int | str = "self") -> int:
    """Peak resident memory of a process since it started its program, KiB (Linux).

    `ru_maxrss` would be wrong: exec does not reset it, so the value of a child is at least that of its parent.

    Raises:
        LookupError: the kernel does not give the value.
    """
    found = _PEAK.search(Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace"))
    if found is None:
        raise LookupError(f"/proc/{process}/status has no VmHWM")
    return int(found[1])
