"""Programs of a deployment that Go builds for tests: once each, kept in the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

from tests.offload.servers.maven import MissingError

# The API server takes nine minutes of two free cores, and an hour beside other work.
BUILD_SECONDS = 3600


def program(module: Path, package: str) -> Path:
    """The main package `package`, as the folder `module` (its go.mod and go.sum) pins it; a new pin is built anew.

    Raises:
        MissingError: no Go here, or it could not fetch and build the package in `BUILD_SECONDS`.
    """
    go = shutil.which("go")
    pins = hashlib.sha256(b"".join((module / name).read_bytes() for name in ("go.mod", "go.sum"))).hexdigest()[:16]
    name = package.replace("/", "_")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medallion"
    built = cache / f"{name}-{pins}"
    if built.is_file():
        return built
    if go is None:
        raise MissingError(f"{package} is built with Go, and there is no go on the PATH")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not built.is_file():
            draft = built.with_suffix(".draft")
            try:
                done = subprocess.run(
                    [go, "build", "-mod=readonly", "-o", str(draft), package],
                    cwd=module,
                    capture_output=True,
                    text=True,
                    check=False,
                    timeout=BUILD_SECONDS,
                )
            except subprocess.TimeoutExpired as expired:
                raise MissingError(f"Go did not build {package} in {BUILD_SECONDS} s; what it has is kept") from expired
            if done.returncode:
                raise MissingError(f"Go could not build {package}: {done.stderr.strip()[-300:]}")
            draft.rename(built)
    return built
