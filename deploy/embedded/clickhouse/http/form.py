"""Reads the parameters of a URL or a form, and external tables, which a client sends as files of a form.

Names of a table's parameters: https://clickhouse.com/docs/engines/table-engines/special/external-data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

from aiohttp import BodyPartReader, web

from deploy.embedded.clickhouse.errors import (
    BAD_ARGUMENTS,
    BAD_SIZE_OF_DATA,
    NOT_IMPLEMENTED,
    UNKNOWN_FORMAT,
    EngineError,
    refusal,
)
from deploy.embedded.clickhouse.http.parameters import Parameters, read_parameters
from deploy.embedded.clickhouse.sql.tokens import scan

_FORM_BYTES = 1 << 24
_MOST_FIELDS = 1_000
_PART_BYTES = 1 << 18
_DEFAULT_FORMAT = "TabSeparated"
_FORMAT_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True)
class ExternalTable:
    """A table for one query.

    Attributes:
        name: its name in the query.
        structure: its columns, `a UInt8, b String`.
        input_format: the format of its rows.
        rows: the file.
    """

    name: str
    structure: str
    input_format: str
    rows: bytes = field(repr=False)


async def read_form(request: web.Request) -> tuple[Parameters, list[ExternalTable]]:
    """Read a form. Returns the request's parameters and its external tables.

    Text fields are parameters, as those in the URL are: a form has room for long ones. Files are external tables.

    Raises:
        EngineError: 12 for a form that is too large, 36 for one that cannot be read, 36 or 73 as in `take_tables`.
    """
    try:
        fields, files = await _read_parts(request)
    except ValueError as error:
        raise refusal(BAD_ARGUMENTS, "BAD_ARGUMENTS", f"The form cannot be read: {error}") from error
    given = {**url_parameters(request), **fields}
    tables = take_tables(files, given)
    return read_parameters(given, request.headers), tables


async def _read_parts(request: web.Request) -> tuple[dict[str, str], dict[str, bytes]]:
    """Text fields and files of a form by name."""
    fields: dict[str, str] = {}
    files: dict[str, bytes] = {}
    left = _FORM_BYTES
    async for part in await request.multipart():
        if not isinstance(part, BodyPartReader) or part.name is None:
            reason = "A form inside a form, or a field without a name, is not supported"
            raise refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)
        content = bytearray()
        left -= len(part.name)
        if left < 0 or len(fields) + len(files) >= _MOST_FIELDS:
            raise _too_large()
        while chunk := await part.read_chunk(_PART_BYTES):
            content += chunk
            if len(content) > left:
                raise _too_large()
        left -= len(content)
        if part.filename is not None:
            files[part.name] = bytes(content)
        else:
            fields[part.name] = content.decode("utf-8", "surrogateescape")
    return fields, files


def _too_large() -> EngineError:
    reason = f"The form has more than {_FORM_BYTES} bytes or {_MOST_FIELDS} fields"
    return refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", reason)


def url_parameters(request: web.Request) -> dict[str, str]:
    """The parameters in the URL. Bytes that are not UTF-8 become surrogates."""
    pairs = parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True, errors="surrogateescape")
    return dict(pairs)


def take_tables(files: Mapping[str, bytes], parameters: dict[str, str]) -> list[ExternalTable]:
    """The tables of a form. The parameters that describe them are removed from `parameters`.

    Raises:
        EngineError: 36 for a file without structure or types, 73 for a format whose name has other characters than
            letters, digits and _.
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
    """Name the columns of a list of types: `UInt8,Map(String, UInt8)` becomes `_1 UInt8, _2 Map(String, UInt8)`."""
    parts, depth, start = [], 0, 0
    for token in scan(types):
        depth += (token.text == "(") - (token.text == ")")
        if token.text == "," and depth == 0:
            parts.append(types[start : token.start])
            start = token.end
    parts.append(types[start:])
    return ", ".join(f"_{number} {part.strip()}" for number, part in enumerate(parts, 1))
