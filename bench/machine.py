"""Describes the machine on which a result was measured: its load, the commit, the versions."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import confluent_kafka
import psutil

_ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = (
    "chdb-core",
    "clickhouse-connect",
    "clickhouse-driver",
    "confluent-kafka",
    "faust-streaming",
    "fastavro",
    "polars",
    "pyarrow",
)


def describe() -> dict[str, Any]:
    """The machine as JSON values. `load_average` is for the last 1, 5 and 15 minutes.

    The machine is `quiet` if the load of the last minute leaves three quarters of the cores free.
    """
    load = os.getloadavg()
    return {
        "cpu": _cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "load_average": [round(one, 2) for one in load],
        "quiet": load[0] <= len(os.sched_getaffinity(0)) / 4,
        "commit": _git("rev-parse", "--short", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "versions": {**{name: version(name) for name in _PACKAGES}, "librdkafka": confluent_kafka.libversion()[0]},
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _git(*arguments: str) -> str:
    """The output of git, or "" if this is no checkout."""
    try:
        done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()
