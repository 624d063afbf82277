"""TOTALS and extremes of a result: the engine's blocks leave them out, its texts do not.

A result that may have them is read as tab-separated text, which is exact, and made blocks of again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from uuid import uuid4

from ddl.quoting import quote_name
from deploy.embedded.clickhouse.engine_session import EngineSession
from deploy.embedded.clickhouse.native.results import renamed
from deploy.embedded.clickhouse.statements import Statement

FORMAT = "TabSeparated"
# A row ends with \r\n and what parts rows, totals and extremes is a bare \n: an empty string cannot be taken for it.
# What the client may have set otherwise is set for both ends.
_NOTATION = {
    "format_tsv_null_representation": "\\N",
    "bool_true_representation": "true",
    "bool_false_representation": "false",
}
SETTINGS = {"output_format_tsv_crlf_end_of_line": "1", "date_time_output_format": "iso", **_NOTATION}
_READING = {"date_time_input_format": "best_effort", **_NOTATION}
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
    """Native blocks of a result that was formatted by FORMAT and SETTINGS.

    Args:
        text: the result, cut anywhere.
        columns: names and types; a result may have a name twice, a table may not.
        scratch: a session of the node's own, in which the rows are read again.

    Raises:
        EngineError: the result is larger than the memory that the node may use; no table can have such columns.
    """
    lines = _lines(text)
    table = f"result_{uuid4().hex}"
    names = [name for name, _ in columns]
    has_own_names = len(set(names)) == len(names)
    declared = columns if has_own_names else [(f"c{number}", kind) for number, (_, kind) in enumerate(columns)]
    scratch.create_temporary_table(table, declared)
    named = (lambda block: block) if has_own_names else partial(renamed, names=names)
    try:
        scratch.insert(f"INSERT INTO {quote_name(table)}", FORMAT, _pieces(_until_blank(lines)), _READING)
        for block in _read(scratch, table):
            yield Part.ROWS, named(block)
        while summary := list(_until_blank(lines)):
            scratch.execute(f"TRUNCATE TABLE {quote_name(table)}")
            scratch.insert(f"INSERT INTO {quote_name(table)}", FORMAT, summary, _READING)
            # Totals are one row, extremes two.
            part = Part.TOTALS if len(summary) == 1 else Part.EXTREMES
            for block in _read(scratch, table):
                yield part, named(block)
    finally:
        scratch.drop_temporary_table(table)


def _read(scratch: EngineSession, table: str) -> Iterator[bytes]:
    return scratch.blocks(f"SELECT * FROM {quote_name(table)}", {"max_threads": "1"})  # noqa: S608 - our own name


def _lines(text: Iterable[bytes]) -> Iterator[bytes]:
    """Lines with their ends."""
    left = b""
    for chunk in text:
        *whole, left = (left + chunk).split(b"\n")
        yield from (line + b"\n" for line in whole)


def _pieces(lines: Iterator[bytes]) -> Iterator[bytes]:
    """Lines joined to pieces: each costs a call of the system."""
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= _PIECE_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def _until_blank(lines: Iterator[bytes]) -> Iterator[bytes]:
    for line in lines:
        if line == b"\n":
            return
        yield line[:-2] + b"\n"
