"""TOTALS and extremes of a result. The engine's text formats have them, its Native blocks do not.

So a result that may have them is read as tab-separated text, which is exact, and turned into Native blocks.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from enum import Enum, auto
from functools import partial

from ddl.quoting import quote_name, quote_string
from deploy.embedded.clickhouse.engine.engine_session import EngineSession
from deploy.embedded.clickhouse.native_format.results import renamed
from deploy.embedded.clickhouse.sql.statements import Statement

FORMAT = "TabSeparated"
# Each row ends with \r\n, also the row of an empty string. A line with \n alone separates rows, totals and extremes.
# These settings are the same for writing and reading the text, whatever the client has set.
_NOTATION = {
    "format_tsv_null_representation": "\\N",
    "bool_true_representation": "true",
    "bool_false_representation": "false",
}
SETTINGS = {"output_format_tsv_crlf_end_of_line": "1", "date_time_output_format": "iso", **_NOTATION}
# A result may have columns of types that a table may not have by default.
_READING = {
    "date_time_input_format": "best_effort",
    "allow_suspicious_low_cardinality_types": "1",
    "allow_suspicious_fixed_string_types": "1",
    "max_threads": "1",
    **_NOTATION,
}
_PIECE_BYTES = 1 << 20


class Part(Enum):
    """What a block of a result holds."""

    ROWS = auto()
    TOTALS = auto()
    EXTREMES = auto()


def may_have_summaries(statement: Statement, settings: Mapping[str, str]) -> bool:
    """Whether a statement's result may have TOTALS or extremes; `settings` are the session's and the query's."""
    return statement.asks_for_summaries or settings.get("extremes", "0") not in {"0", "false"}


def blocks(
    text: Iterable[bytes], columns: Sequence[tuple[str, str]], scratch: EngineSession
) -> Generator[tuple[Part, bytes], None, None]:
    """Native blocks of a result that was formatted by FORMAT and SETTINGS, in bounded memory.

    Args:
        text: the result, cut anywhere.
        columns: names and types of the result's columns. Two columns may have the same name.
        scratch: a session of the node, which turns the text into blocks.

    Raises:
        EngineError: the engine does not read a column of this type from text.
    """
    lines = _lines(text)
    names = [name for name, _ in columns]
    has_own_names = len(set(names)) == len(names)
    declared = columns if has_own_names else [(f"c{number}", kind) for number, (_, kind) in enumerate(columns)]
    structure = ", ".join(f"{quote_name(name)} {kind}" for name, kind in declared)
    named = (lambda block: block) if has_own_names else partial(renamed, names=names)
    for piece in _pieces(_until_blank(lines)):
        for block in _read(scratch, piece, structure):
            yield Part.ROWS, named(block)
    while summary := list(_until_blank(lines)):
        # Totals are one row, extremes two.
        part = Part.TOTALS if len(summary) == 1 else Part.EXTREMES
        for block in _read(scratch, b"".join(summary), structure):
            yield part, named(block)


def _read(scratch: EngineSession, rows: bytes, structure: str) -> Iterator[bytes]:
    """Native blocks of whole lines. They are read from a file in memory, as a table may not have the type Nothing."""
    with os.fdopen(os.memfd_create("rows"), "wb") as file:
        file.write(rows)
        file.flush()
        place = quote_string(f"/proc/self/fd/{file.fileno()}")
        sql = f"SELECT * FROM file({place}, '{FORMAT}', {quote_string(structure)})"  # noqa: S608 - our own names
        yield from scratch.blocks(sql, _READING)


def _lines(text: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of a text, each with its end."""
    left = b""
    for chunk in text:
        *whole, left = (left + chunk).split(b"\n")
        yield from (line + b"\n" for line in whole)


def _pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Lines joined into pieces of about 1 MiB, because each piece costs a query."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= _PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    if held:
        yield b"".join(held)


def _until_blank(lines: Iterator[bytes]) -> Iterator[bytes]:
    for line in lines:
        if line == b"\n":
            return
        yield line[:-2] + b"\n"
