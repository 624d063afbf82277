"""Tables that a client sends along with its query, as files of a form.

Names of the parameters: https://clickhouse.com/docs/engines/table-engines/special/external-data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.embedded.clickhouse.errors import BAD_ARGUMENTS, UNKNOWN_FORMAT, refusal
from deploy.embedded.clickhouse.tokens import scan

_DEFAULT_FORMAT = "TabSeparated"
_FORMAT_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class ExternalTable:
    """A table for one query.

    Attributes:
        name: how the query calls it.
        structure: its columns, `a UInt8, b String`.
        input_format: the format of its rows.
        rows: the file.
    """

    name: str
    structure: str
    input_format: str
    rows: bytes = field(repr=False)


def take_tables(files: Mapping[str, bytes], parameters: dict[str, str]) -> list[ExternalTable]:
    """The tables of a form; what describes them is taken out of the parameters.

    Raises:
        EngineError: 36 for a file without structure or types, 73 for a format that is no name.
    """
    found = []
    for name, rows in files.items():
        structure = parameters.pop(f"{name}_structure", "")
        types = parameters.pop(f"{name}_types", "")
        input_format = parameters.pop(f"{name}_format", _DEFAULT_FORMAT)
        if not structure and not types:
            reason = f"The file {name} is a table without columns: send {name}_structure or {name}_types"
            raise refusal(BAD_ARGUMENTS, "BAD_ARGUMENTS", reason)
        if not _FORMAT_NAME.fullmatch(input_format):
            raise refusal(UNKNOWN_FORMAT, "UNKNOWN_FORMAT", f"Unknown format {input_format[:50]!r}")
        found.append(ExternalTable(name, structure or _numbered(types), input_format, rows))
    return found


def _numbered(types: str) -> str:
    """`_1 UInt8, _2 Map(String, UInt8)` of `UInt8,Map(String, UInt8)`."""
    parts, depth, start = [], 0, 0
    for token in scan(types):
        depth += (token.text == "(") - (token.text == ")")
        if token.text == "," and depth == 0:
            parts.append(types[start : token.start])
            start = token.end
    parts.append(types[start:])
    return ", ".join(f"_{number} {part.strip()}" for number, part in enumerate(parts, 1))
