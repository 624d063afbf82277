"""`medallion serve` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from bench.waiting import answers
from deploy.embedded.ports import LOOPBACK, free_ports

_START_S = 60.0


class ServiceError(RuntimeError):
    """The service or a command failed. The message has its own error."""


@dataclass(frozen=True, slots=True)
class Service:
    """A running service: its address without a slash at the end, and its process."""

    url: str
    process: psutil.Process

    @property
    def cpu_s(self) -> float:
        """CPU time so far, s."""
        used = self.process.cpu_times()
        return used.user + used.system

    @property
    def rss_mb(self) -> float:
        """Resident memory, MiB."""
        return float(self.process.memory_info().rss) / 2**20


@contextmanager
def service(environment: Mapping[str, str], options: Sequence[str] = ()) -> Iterator[Service]:
    """Start the service, and stop it at the end.

    Raises:
        ServiceError: it does not become ready.
    """
    (port,) = free_ports(1)
    argv = [sys.executable, "-m", "cli", "serve", "--port", str(port), *options]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(argv, env={**os.environ, **environment}, stdout=log, stderr=log)
        try:
            url = f"http://{LOOPBACK}:{port}"
            if not answers(f"{url}/readyz", process, _START_S):
                log.seek(0)
                raise ServiceError(f"The service did not start: {log.read()[-500:].decode(errors='replace')}")
            yield Service(url, psutil.Process(process.pid))
        finally:
            process.terminate()
            process.wait()


def command(environment: Mapping[str, str], folder: Path, *words: str) -> None:
    """Run `medallion …`.

    Raises:
        ServiceError: it failed.
    """
    argv = [sys.executable, "-m", "cli", *words]
    done = subprocess.run(
        argv, env={**os.environ, **environment}, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ServiceError(f"medallion {' '.join(words)}: {done.stderr[-500:]}")
