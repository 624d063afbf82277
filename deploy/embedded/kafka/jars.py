"""Finds Java and the jars of Kafka. Maven fetches the jars if no installation of Kafka is named."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from config.places import cache_folder
from deploy.embedded.layout import StackError

POM = Path(__file__).with_name("pom.xml")
LEAST_JAVA = 17
FETCH_TIMEOUT_S = 900
_VERSION = re.compile(r'version "(?:1\.)?(\d+)')
_OR_IN_MEMORY = "Or leave --broker out: the in-memory broker needs neither Java nor Maven."


@dataclass(frozen=True)
class Kafka:
    """A Kafka that can be started: the `java` to run it with, and the folder of its jars."""

    java: Path
    libs: Path


def find(kafka_home: Path | None) -> Kafka:
    """The Kafka of `kafka_home` or of `KAFKA_HOME`, else the pinned one of `pom.xml`, fetched once into the cache.

    Raises:
        StackError: no Java or one below 17, a folder without Kafka, no Maven, or Maven could not fetch.
    """
    java = _java()
    given = kafka_home or (Path(os.environ["KAFKA_HOME"]) if os.environ.get("KAFKA_HOME") else None)
    if given is None:
        return Kafka(java, _fetched())
    libs = given.absolute() / "libs"
    if not list(libs.glob("kafka-server-4*.jar")):
        raise StackError(
            f"{given} is no Apache Kafka 4 (no libs/kafka-server-4….jar in it): unpack one there, "
            "or leave --kafka-home and KAFKA_HOME out to have it fetched with Maven."
        )
    return Kafka(java, libs)


def _java() -> Path:
    home = os.environ.get("JAVA_HOME")
    found = shutil.which(Path(home) / "bin" / "java" if home else "java")
    if found is None:
        where = f"no bin/java in JAVA_HOME {home}" if home else "no java on the PATH"
        raise StackError(
            f"Kafka needs Java {LEAST_JAVA} or newer, and there is {where}: install one (Debian: "
            f"apt install openjdk-17-jre-headless) or set JAVA_HOME. {_OR_IN_MEMORY}"
        )
    answer = subprocess.run([found, "-version"], capture_output=True, text=True, check=False)  # noqa: S603 - java
    version = _VERSION.search(answer.stderr + answer.stdout)
    if version is None or int(version[1]) < LEAST_JAVA:
        said = (answer.stderr or answer.stdout).strip().splitlines()
        raise StackError(
            f"Kafka needs Java {LEAST_JAVA} or newer, but {found} says {said[0] if said else 'nothing'!r}: "
            f"set JAVA_HOME to a newer one. {_OR_IN_MEMORY}"
        )
    return Path(found)


def _fetched() -> Path:
    """The folder of the pinned jars. Its name is a digest of `pom.xml`, so that other versions get another folder."""
    name = f"kafka-{hashlib.sha256(POM.read_bytes()).hexdigest()[:16]}"
    target = cache_folder() / name
    if target.is_dir():
        return target
    maven = shutil.which("mvn")
    if maven is None:
        raise StackError(
            "Kafka's jars are fetched with Maven, and there is no mvn on the PATH: install it (Debian: apt install "
            f"maven), or unpack Apache Kafka 4 and name its folder with --kafka-home or KAFKA_HOME. {_OR_IN_MEMORY}"
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (target.parent / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not target.is_dir():
                _fetch(maven, target)
    except OSError as error:
        raise StackError(f"Cannot write to the cache {target.parent}: {error.strerror}. Set XDG_CACHE_HOME.") from error
    return target


def _fetch(maven: str, target: Path) -> None:
    draft = target.with_suffix(".draft")
    shutil.rmtree(draft, ignore_errors=True)
    # Maven gets a copy, because it writes files beside the pom, and the pom's own folder may be read-only.
    project = target.with_suffix(".pom.xml")
    shutil.copyfile(POM, project)
    argv = [maven, "--batch-mode", "--quiet", "--file", str(project), "dependency:copy-dependencies"]
    try:
        done = subprocess.run(  # noqa: S603 - Maven, fixed arguments
            [*argv, f"-DoutputDirectory={draft}", "-DincludeScope=runtime"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise StackError(f"Maven did not fetch Kafka within {FETCH_TIMEOUT_S} s: try again.") from error
    if done.returncode != 0 or not list(draft.glob("kafka-server-*.jar")):
        lines = [line for line in (done.stdout + done.stderr).splitlines() if "ERROR" in line]
        raise StackError(
            f"Maven could not fetch Kafka: {lines[0][:500] if lines else f'exit code {done.returncode}'} "
            "If this machine is offline, unpack Apache Kafka 4 and name its folder with --kafka-home or KAFKA_HOME. "
            f"{_OR_IN_MEMORY}"
        )
    draft.rename(target)
