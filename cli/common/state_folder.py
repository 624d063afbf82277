"""The folder in which commands keep state about one stack, and the stack's name in it."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from cli.common.context import deployed
from config.places import state_folder
from config.settings import Settings
from deploy.embedded import control

_ID_FILE = "warehouse.id"
BACKFILL_CHECKPOINT = "backfill.jsonl"


@dataclass(frozen=True, slots=True)
class StateFolder:
    """`name` identifies the stack: a new stack in the folder of an old one has another name."""

    folder: Path
    name: str


def find_state_folder(data_dir: Path | None, settings: Settings) -> StateFolder:
    """The state folder of the stack that `cli.common.context.load_settings` chose.

    For an embedded stack it is the data folder. For a stack of the `MEDALLION_…` endpoints it is below
    `$XDG_STATE_HOME/medallion` of this user.

    Raises:
        StackError: as `load_settings`.
    """
    if data_dir is None and deployed():
        broker = settings.kafka_bootstrap_servers
        store = f"{settings.clickhouse_host}:{settings.clickhouse_port}/{settings.clickhouse_database}"
        name = f"{broker} {store}"
        return StateFolder(state_folder() / re.sub(r"[^A-Za-z0-9.,-]+", "_", name), name)
    folder = control.find(data_dir).data_dir
    return StateFolder(folder, stack_id(folder))


def backfill_checkpoint(place: StateFolder) -> Path:
    """The default file of the back-fill's checkpoint."""
    return place.folder / BACKFILL_CHECKPOINT


def stack_id(folder: Path) -> str:
    """The name of the stack in a data folder, from a file in the folder; created where it is missing.

    Two commands at the same time get the same name.
    """
    path = folder / _ID_FILE
    if not path.exists():
        name = str(uuid.uuid4())
        draft = folder / f".{name}"
        try:
            draft.write_text(name)
            with contextlib.suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
    return path.read_text()
