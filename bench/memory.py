"""The most memory that a process had resident."""

from __future__ import annotations

import re
from pathlib import Path

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


def peak_rss_kib(process: int | str = "self") -> int:
    """KiB that a process had resident at most since it began its program (Linux).

    Not `ru_maxrss`: that survives exec, so that in a child it is at least what its parent had resident.

    Raises:
        LookupError: the kernel does not say.
    """
    found = _PEAK.search(Path(f"/proc/{process}/status").read_text(encoding="ascii", errors="replace"))
    if found is None:
        raise LookupError(f"/proc/{process}/status has no VmHWM")
    return int(found[1])
