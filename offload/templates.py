"""The SQL files of the cold tier, rendered: identifiers by Jinja, values as ClickHouse query parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from ddl.quoting import quote_name, quote_string
from ddl.render import MIGRATIONS_FOLDER
from schemas.kinds import COUNTED

_ENVIRONMENT = Environment(
    # The migrations' macros, too: what both say of times and candles is said once.
    loader=FileSystemLoader([Path(__file__).with_name("sql"), MIGRATIONS_FOLDER]),
    undefined=StrictUndefined,
    trim_blocks=True,
    autoescape=False,  # noqa: S701 - SQL, and only constants of ours are rendered
)
_ENVIRONMENT.filters |= {"literal": quote_string, "name": quote_name}
_ENVIRONMENT.globals["counted_kinds"] = COUNTED


def render(name: str, **context: Any) -> str:
    """The text of `sql/<name>`.

    Raises:
        jinja2.UndefinedError: the file names something that was not given.
    """
    return _ENVIRONMENT.get_template(name).render(**context).strip()
