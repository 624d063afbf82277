"""The engine's configuration file, made from the template beside this module."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import Template

_TEMPLATE = Path(__file__).with_name("node-config.xml")
_MIB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What a node may use.

    Attributes:
        max_memory_mb: cap over all queries and caches, MiB.
        deduplication_window: how many recent blocks of a table a repeated insert is recognised in.
    """

    max_memory_mb: int = 1024
    deduplication_window: int = 100_000


def write(path: Path, limits: Limits) -> Path:
    """Write the configuration file and return its path.

    Raises:
        OSError: the file cannot be written.
    """
    text = Template(_TEMPLATE.read_text(encoding="utf-8")).substitute(
        max_memory_bytes=limits.max_memory_mb * _MIB, deduplication_window=limits.deduplication_window
    )
    path.write_text(text, encoding="utf-8")
    return path
