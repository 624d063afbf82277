"""Jars that tests need, fetched once by Maven into the user's cache."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

FETCH_SECONDS = 900


class MissingError(Exception):
    """A program of a test's surroundings is not on this machine; the message says which."""


def jars(pom: Path) -> Path:
    """The folder of the jars that `pom` names, fetched if they never were; a new pin is fetched anew.

    Raises:
        MissingError: no Java or Maven here, or Maven could not fetch.
    """
    what = pom.parent.name
    for program in ("java", "mvn"):
        if shutil.which(program) is None:
            raise MissingError(f"{what} needs Java and Maven, and there is no {program} on the PATH")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "medallion"
    target = cache / f"test-{what}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"test-{what}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.is_dir():
            draft = target.with_suffix(".draft")
            shutil.rmtree(draft, ignore_errors=True)
            command = ["mvn", "--batch-mode", "--quiet", "--file", str(pom), "dependency:copy-dependencies"]
            done = subprocess.run(
                [*command, f"-DoutputDirectory={draft}", "-DincludeScope=runtime"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=FETCH_SECONDS,
            )
            if done.returncode:
                raise MissingError(f"Maven could not fetch what {what} needs: {(done.stdout + done.stderr)[-300:]}")
            draft.rename(target)
    return target
