"""A Postgres of the tests' own (Debian's package), on a folder that holds all that it knows."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.offload.servers.maven import MissingError
from tests.offload.servers.s3_server import free_port

_INSTALLED = Path("/usr/lib/postgresql")
# It refuses to run as root.
_USER = "postgres"


def find() -> Path:
    """The folder of its programs, the newest version.

    Raises:
        MissingError: it is not installed.
    """
    found = sorted(_INSTALLED.glob("*/bin/pg_ctl"), key=lambda path: int(path.parts[-3]))
    if not found:
        raise MissingError("no Postgres here: Debian's package is `postgresql`")
    return found[-1].parent


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """Postgres while the context lasts, with what `folder` has or empty; gives the JDBC address of a database.

    The user `postgres` must be able to reach the folder, and gets it: a temporary folder outside pytest's.
    """
    programs, port = find(), free_port()
    data = folder / "data"
    folder.mkdir(parents=True, exist_ok=True)
    if os.getuid() == 0:
        for path in (folder, *folder.rglob("*")):
            shutil.chown(path, _USER, _USER)
    if not data.is_dir():
        _run([programs / "initdb", "--pgdata", data, "--username", _USER, "--auth", "trust"])
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder}"
    control = [programs / "pg_ctl", "--pgdata", data, "--wait"]
    _run([*control, "--log", folder / "log", "--options", options, "start"])
    try:
        yield f"jdbc:postgresql://127.0.0.1:{port}/{_USER}?user={_USER}"
    finally:
        _run([*control, "--mode", "fast", "stop"])


def _run(command: Sequence[str | Path]) -> None:
    user = _USER if os.getuid() == 0 else None
    done = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command[0]}: {done.stdout}{done.stderr}"
