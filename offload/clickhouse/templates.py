"""Renders the SQL files of the cold tier. Jinja fills in identifiers; ClickHouse fills in values (query parameters)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ddl.render import MIGRATIONS_FOLDER, share_definitions

_OFFLOAD = Path(__file__).parents[1]
_ENVIRONMENT = Environment(
    # Each folder has its own `sql` folder. The macros of the migrations define times and candles for all of them.
    loader=FileSystemLoader([*sorted(_OFFLOAD.glob("**/sql")), MIGRATIONS_FOLDER]),
    undefined=StrictUndefined,
    trim_blocks=True,
    autoescape=False,  # noqa: S701 - the output is SQL, and all variables are constants or quoted
)
share_definitions(_ENVIRONMENT)


def render(name: str, **context: Any) -> str:
    """The text of the file `name` in the `sql` folders.

    Raises:
        jinja2.UndefinedError: the file uses a variable that is not in `context`.
    """
    return _ENVIRONMENT.get_template(name).render(**context).strip()
