"""Where commands keep what they remember of one warehouse, and by which name it is known there."""

from __future__ import annotations

import contextlib
import os
import re
import uuid
from dataclasses import dataclass
from pathlib import Path

from cli.common.context import ENDPOINT_VARIABLES
from config.places import state_folder
from config.settings import Settings
from deploy.embedded import control

_ID_FILE = "warehouse.id"


@dataclass(frozen=True, slots=True)
class StateFolder:
    """`name` is its own: a stack that is made anew in the folder of another one has another."""

    folder: Path
    name: str


def find_state_folder(data_dir: Path | None, settings: Settings) -> StateFolder:
    """That of the stack which `cli.common.context.load_settings` chose.

    An embedded one's folder is its data folder; that of the `MEDALLION_…` endpoints is this user's, below
    `$XDG_STATE_HOME/medallion`.

    Raises:
        StackError: as `load_settings`.
    """
    if data_dir is None and any(name in os.environ for name in ENDPOINT_VARIABLES):
        broker = settings.kafka_bootstrap_servers
        store = f"{settings.clickhouse_host}:{settings.clickhouse_port}/{settings.clickhouse_database}"
        name = f"{broker} {store}"
        return StateFolder(state_folder() / re.sub(r"[^A-Za-z0-9.,-]+", "_", name), name)
    folder = control.find(data_dir).data_dir
    return StateFolder(folder, stack_id(folder))


def stack_id(folder: Path) -> str:
    """Of the stack in a data folder: it is in a file that goes with the folder.

    Of two commands that look at the same time one makes it.
    """
    path = folder / _ID_FILE
    if not path.exists():
        name = str(uuid.uuid4())
        draft = folder / f".{name}"
        draft.write_text(name)
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text()
