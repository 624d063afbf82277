"""The backfill checkpoint: which parts of a back-fill are done, in a file that survives SIGKILL.

Each line is a step in JSON. The last step of a name counts, for the warehouse in which it was taken.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from config.errors import MedallionError

DONE: dict[str, Any] = {"done": True}
# Each line begins so.
_BEGIN = b'{"name": "'


class CheckpointError(MedallionError):
    """The checkpoint file cannot be used."""


class BackfillCheckpoint:
    """The checkpoint file. `with` opens it for one process at a time. Safe to use from several threads."""

    def __init__(self, path: Path, warehouse: str) -> None:
        """`warehouse`: the one that the steps belong to. Nothing is read yet."""
        self._path = path
        self._warehouse = warehouse
        self._steps: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self._descriptor = -1

    def __enter__(self) -> Self:
        """Read the steps of earlier runs.

        Raises:
            CheckpointError: another process uses the file, or it is no checkpoint file.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise CheckpointError(
                f"{self._path} is in use by another back-fill: wait for its end, or give another file with --state"
            ) from error
        try:
            content = self._path.read_bytes()
            whole = _whole_lines(content)
            self._steps = _steps_of(self._path, whole, self._warehouse)
            rest = content[len(whole) :]
            if rest and not (rest.startswith(_BEGIN) or _BEGIN.startswith(rest)):
                raise _no_checkpoint(self._path, whole.count(b"\n") + 1)
        except CheckpointError:
            os.close(self._descriptor)
            raise
        if rest:
            # The process was killed while it wrote its last line. The step before it counts.
            os.truncate(self._descriptor, len(whole))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    def get(self, name: str) -> dict[str, Any]:
        """The newest step of a name; {} if there is none."""
        with self._lock:
            return self._steps.get(name, {})

    @property
    def steps(self) -> dict[str, dict[str, Any]]:
        """The newest step of each name."""
        with self._lock:
            return dict(self._steps)

    def is_done(self, name: str) -> bool:
        """Whether the part with this name is done."""
        return bool(self.get(name).get("done"))

    def named(self, prefix: str) -> list[dict[str, Any]]:
        """The newest step of each name with this prefix."""
        with self._lock:
            return [step for name, step in self._steps.items() if name.startswith(prefix)]

    def put(self, name: str, step: dict[str, Any]) -> None:
        """Write a step. It is on the disk when this returns."""
        self.put_all({name: step})

    def put_all(self, steps: Mapping[str, dict[str, Any]]) -> None:
        """Write steps. They are on the disk when this returns."""
        lines = [json.dumps({"name": name, "warehouse": self._warehouse, **step}) for name, step in steps.items()]
        with self._lock:
            self._append("".join(f"{line}\n" for line in lines).encode())
            self._steps |= steps

    def _append(self, content: bytes) -> None:
        """Write all of it or, on a full disk, nothing: after the part of a line, the next step would be unreadable."""
        before = os.fstat(self._descriptor).st_size
        try:
            while content:
                content = content[os.write(self._descriptor, content) :]
            os.fdatasync(self._descriptor)
        except OSError as error:
            os.ftruncate(self._descriptor, before)
            raise OSError(error.errno, error.strerror, str(self._path)) from error


def read_steps(path: Path, warehouse: str) -> dict[str, dict[str, Any]]:
    """The newest step of each name, also while a back-fill writes to the file; {} where there is no file.

    Raises:
        CheckpointError: it is no checkpoint file.
    """
    return _steps_of(path, _whole_lines(path.read_bytes()), warehouse) if path.exists() else {}


def _whole_lines(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def _steps_of(path: Path, content: bytes, warehouse: str) -> dict[str, dict[str, Any]]:
    steps = {}
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            step = json.loads(line)
            # Earlier versions wrote neither the warehouse nor the files' checksums.
            name, of = str(step.pop("name")), step.pop("warehouse", None)
            if of == warehouse:
                steps[name] = step
        except (ValueError, KeyError, AttributeError, TypeError, RecursionError) as error:
            raise _no_checkpoint(path, number) from error
    return steps


def _no_checkpoint(path: Path, line: int) -> CheckpointError:
    return CheckpointError(
        f"{path} is no checkpoint file of a back-fill (line {line:,}): give another file with --state"
    )
