"""Measures the disks of a stack, and says which are full and what to do."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from cli.common.context import print_table
from config.errors import MedallionError
from config.places import nearest
from config.process.disks import FULL, OK, Disk, local_folder, measure
from config.settings import Settings
from deploy.embedded import control
from deploy.embedded.layout import StackState

_MIB = 1 << 20


def stack_disks(state: StackState) -> list[Disk]:
    """The disks of a stack's data folder and of its warehouse."""
    warehouse = local_folder(Settings.from_environment(state.environment).iceberg_warehouse)
    return measure({"data folder": state.data_dir} | ({"warehouse": warehouse} if warehouse else {}))


def troubles(disks: Sequence[Disk]) -> dict[str, str]:
    """By disk, what to do about it if it is full or nearly full."""
    return {
        disk.name: f"{disk}: {'' if disk.level == FULL else 'nearly '}full; free space there or enlarge it"
        for disk in disks
        if disk.level != OK
    }


def print_disks(disks: Sequence[Disk]) -> None:
    """Print a line for each disk."""
    print_table(
        "Disks",
        ("of", "folder", "left MiB", "size MiB", "state"),
        [(one.name, str(one.path), one.free // _MIB, one.size // _MIB, one.level) for one in disks],
    )


def explain_full_disk(cause: BaseException) -> str:
    """The error message of a command that a full disk stopped. `cause`: the error of whoever wrote to it."""
    places = {f"stack {state.data_dir}": state.data_dir for state in _stacks()}
    places |= {"current folder": Path.cwd(), "temporary files": Path(tempfile.gettempdir())}
    if isinstance(cause, OSError) and cause.filename:
        places["written file"] = nearest(Path(str(cause.filename)).absolute())
    disks = measure(places)
    full = [str(disk) for disk in disks if disk.level == FULL]
    if not full:
        known = min(disks, key=lambda one: one.free)
        full = [f"that of a file on the command line or of standard output, since {known}"]
    return (
        f"No space left on a disk: {'; '.join(full)}. Free space there or enlarge it, then run the same command again:"
        f" what was done stays, and nothing is lost. ({type(cause).__name__}: {' '.join(str(cause).split())[:300]})"
    )


def _stacks() -> list[StackState]:
    try:
        return control.running()
    except MedallionError:
        return []
