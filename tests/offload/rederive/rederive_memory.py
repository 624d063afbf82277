"""A re-derivation in a process of its own; its most resident memory (KiB) on its output.

usage: rederive_memory.py SETTINGS_JSON FROM TO [--dry-run]
"""

from __future__ import annotations

import re
import sys
from datetime import datetime
from pathlib import Path

from config.settings import Settings
from offload.clickhouse.tiers import Tiers
from offload.rederive.run import rederive


def main(arguments: list[str]) -> None:
    """Re-derive, then say."""
    start, end = (datetime.fromisoformat(text) for text in arguments[1:3])
    rederive(Tiers.open(Settings.model_validate_json(arguments[0])), start, end, dry_run=arguments[3:] == ["--dry-run"])
    # Not ru_maxrss: that survives exec, so that it is at least what the parent had.
    (peak,) = re.findall(r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    sys.stdout.write(peak)


if __name__ == "__main__":
    main(sys.argv[1:])
