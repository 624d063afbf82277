"""Renders the SQL files of the cold tier. Jinja fills in identifiers; ClickHouse fills in values (query parameters)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ddl.render import room_templates

_TEMPLATES = room_templates(Path(__file__).parents[1])


def render(name: str, **context: Any) -> str:
    """The text of the file `name`, from whichever room of the cold tier has it.

    Raises:
        jinja2.UndefinedError: the file uses a variable that is not in `context`.
    """
    return _TEMPLATES.get_template(name).render(**context).strip()
