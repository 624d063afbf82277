"""Checks of this machine: versions, cores, memory, disks, the data folder, ports."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import distributions
from pathlib import Path

import psutil

from cli.stack.doctor.finding import Finding
from config.process.disks import FULL, LOW, Disk
from deploy.embedded.layout import DataDir
from deploy.embedded.ports import LOOPBACK, free_ports, is_free

OLDEST_PYTHON = (3, 11)
# A Silver worker and ClickHouse's merges work at the same time.
CORES = 2
MIB = 1 << 20
# What the processes of `medallion up` take at rest, and what they take while they work off a backlog (docs/sizing.md).
AT_REST = 840 * MIB
AT_WORK = 1_500 * MIB
# A stack that runs has its memory already.
LEFT_OVER = 256 * MIB
# `medallion up` takes so many ports: ClickHouse's two, the page's, and those of the metrics of a worker, of the offload
# and of the schedules.
PORTS = 6
_PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
_LOCK = "requirements.txt"
_EMBEDDED_LOCK = "requirements-embedded.txt"
_CGROUP = Path("/sys/fs/cgroup")


def python(version: tuple[int, ...] = tuple(sys.version_info[:3])) -> Finding:
    """Python is a version that this release runs on."""
    found, oldest = ".".join(map(str, version)), ".".join(map(str, OLDEST_PYTHON))
    if version < OLDEST_PYTHON:
        remedy = f"install Python {oldest} or later; without .venv, `make up PYTHON=python{oldest}` makes it again"
        return Finding("python", "fail", f"Python {found}", remedy)
    return Finding("python", "ok", f"Python {found}")


def packages(*, embedded: bool) -> Finding:
    """The installed packages are those of the lock file. `embedded`: the stack is to run here, with its engine."""
    lock = Path(__file__).parents[3] / (_EMBEDDED_LOCK if embedded else _LOCK)
    if not lock.exists():
        return Finding("packages", "ok", "no lock file is beside this installation: its build has checked them")
    installed = {_canonical(one.name): one.version for one in distributions()}
    return compare_packages(installed, read_lock(lock.read_text(encoding="utf-8")), lock.name)


def read_lock(text: str) -> dict[str, str]:
    """The versions of a lock file that pip-compile wrote, by canonical name of the package."""
    return {_canonical(name): version for name, version in _PINNED.findall(text)}


def compare_packages(installed: Mapping[str, str], locked: Mapping[str, str], lock: str) -> Finding:
    """A missing package is a failure, one of another version a warning."""
    missing = sorted(locked.keys() - installed.keys())
    others = [
        f"{name} {installed[name]} instead of {version}"
        for name, version in sorted(locked.items())
        if name in installed and installed[name] != version
    ]
    remedy = f"`pip install --require-hashes -r {lock}` in this environment; `make up` does it in .venv"
    if missing:
        return Finding("packages", "fail", f"missing: {', '.join(missing)}", remedy)
    if others:
        return Finding("packages", "warn", f"{', '.join(others)} ({lock})", remedy)
    return Finding("packages", "ok", f"{len(locked)} as in {lock}")


def cores(count: float) -> Finding:
    """There are as many cores as the stack keeps busy."""
    found = f"{count:g} {'core' if count == 1 else 'cores'}"
    if count < CORES:
        return Finding("cores", "warn", found, f"give it {CORES} cores: with fewer, trades come late")
    return Finding("cores", "ok", found)


def memory(available: int, *, running: bool) -> Finding:
    """There is enough memory: to start a stack, or to spare beside one that runs. `available`: bytes."""
    found = f"{available // MIB:,} MiB available"
    if running:
        if available < LEFT_OVER:
            return Finding("memory", "warn", found, "end other programs, or give the machine more memory")
    elif available < AT_REST:
        return Finding("memory", "fail", found, f"free memory: a stack at rest takes {AT_REST // MIB:,} MiB")
    elif available < AT_WORK:
        return Finding("memory", "warn", found, f"free memory: a stack at work takes {AT_WORK // MIB:,} MiB")
    return Finding("memory", "ok", found)


def disks(measured: Sequence[Disk]) -> list[Finding]:
    """The disks of the data folder and the warehouse have room."""
    outcomes = {FULL: "fail", LOW: "warn"}
    return [
        Finding(f"disk ({disk.name})", outcomes[disk.level], str(disk), "free space there or enlarge it")  # type: ignore[arg-type]
        if disk.level in outcomes
        else Finding(f"disk ({disk.name})", "ok", str(disk))
        for disk in measured
    ]


def data_folder(path: Path) -> Finding:
    """`medallion up` gets this data folder. `path`: absolute; it need not be there.

    Raises:
        MedallionError: it would be refused.
        OSError: it cannot be looked at.
    """
    DataDir(path).check()
    return Finding("data folder", "ok", f"{path} can be {'written' if path.exists() else 'made'}")


def ports(serving_port: int, clickhouse: Mapping[str, int]) -> Finding:
    """`medallion up` finds free ports, ClickHouse and the page their own ones.

    A port of 0 is any free one. `serving_port`: the page's. `clickhouse`: ClickHouse's, by the option that changes it.
    """
    try:
        free_ports(PORTS)
    except OSError as error:
        return Finding("ports", "fail", str(error), "end programs that listen there (`ss -ltnp`)")
    if taken := {option: port for option, port in clickhouse.items() if port and not is_free(port)}:
        return Finding(
            "ports",
            "fail",
            f"taken on {LOOPBACK}: {', '.join(map(str, taken.values()))}, where clients look for ClickHouse",
            f"end what listens there (`ss -ltnp`), or `medallion up {' '.join(f'{option} 0' for option in taken)}`",
        )
    if serving_port and not is_free(serving_port):
        return Finding(
            "ports",
            "warn",
            f"port {serving_port} of {LOOPBACK} is taken: `medallion up --serve` puts the page at another one",
            f"end what listens there (`ss -ltnp sport = :{serving_port}`), or set MEDALLION_SERVING_PORT",
        )
    own = [str(port) for port in (*clickhouse.values(), serving_port) if port]
    return Finding("ports", "ok", " and ".join([f"{PORTS} ports of {LOOPBACK}", *own]) + " are free")


def usable_cores(cgroup: Path = _CGROUP) -> float:
    """The cores that this process may use, by its affinity and the quota of its control group (version 2)."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else psutil.cpu_count() or 1
    words = _words(cgroup / "cpu.max")
    if len(words) == 2 and words[0].isdigit():
        return min(float(allowed), int(words[0]) / int(words[1]))
    return float(allowed)


def available_memory(cgroup: Path = _CGROUP) -> int:
    """The bytes that new processes can have, by the machine and the limit of the control group (version 2)."""
    available = psutil.virtual_memory().available
    limit, used = _words(cgroup / "memory.max"), _words(cgroup / "memory.current")
    if not (limit and used and limit[0].isdigit()):
        return available
    # The kernel gives up cached files before it refuses memory.
    words = _words(cgroup / "memory.stat")
    cached = dict(zip(words[::2], words[1::2], strict=False)).get("inactive_file", "0")
    return max(0, min(available, int(limit[0]) - int(used[0]) + int(cached)))


def _words(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="ascii").split()
    except OSError:
        return []


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
