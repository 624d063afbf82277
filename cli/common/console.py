"""Prints to a terminal: markup in data has no effect, hidden characters are escapes, and tables lose no digit."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, BinaryIO

from rich import box
from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from config.visible import visible, visible_line

# A longer word (a path, a payload) may be folded to keep a table a table; a number or an id is shorter.
_WHOLE_WORD = 40
_INDENT = 2
# A name stands beside its value where that leaves so many columns for the value.
_ROOM_FOR_A_VALUE = 24
_BLANKS = {" ": "␣"}


class SafeConsole(Console):
    """A console for text that strangers wrote: symbols, payloads, a server's error messages.

    A string is printed as it is: `[red]` is five characters, `:smile:` no picture. Control, direction and zero-width
    characters are shown as escapes, in strings, in `Text` and in whatever a progress bar or a table makes of them.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None, soft_wrap: bool = False) -> None:
        super().__init__(stderr=stderr, width=width, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """`text` without markup; rich uses this for every string of a table or a line."""
        return super().render_str(visible(text), **(options | {"markup": False, "emoji": False}))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable, hidden characters as escapes; this covers finished `Text` too."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(visible(text), style)

    def print_table(
        self, title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], empty: str = "nothing"
    ) -> None:
        """Print a table for people, numbers to the right. No digit, letter or header is left out at any width.

        Cells are wrapped between words. Where that does not do, a column that is the same in every row is shown once,
        above the table. Where that does not do either, each row is a block of lines, a line for each column.
        """
        rows = list(rows)
        cells = [[cell(value) for value in row] for row in rows]
        if not cells:
            self.print(f"{title}: {empty}")
            return
        self.print(Text(visible_line(title), style="bold"))
        shown = list(range(len(columns)))
        widths = _widths(columns, cells, shown, self.width)
        if widths is None and len(cells) > 1:
            same = [index for index in shown if len({row[index] for row in cells}) == 1]
            shown = [index for index in shown if index not in same]
            if same:
                self.print("  The same in every row:")
                self._print_blocks([columns[index] for index in same], [[cells[0][index] for index in same]])
            widths = _widths(columns, cells, shown, self.width)
        if widths is None:
            self._print_blocks([columns[index] for index in shown], [[row[index] for index in shown] for row in cells])
            return
        table = Table(box=box.SIMPLE_HEAD, header_style="bold")
        for index, width in zip(shown, widths, strict=True):
            is_number = all(isinstance(row[index], int | float | Decimal) for row in rows)
            table.add_column(columns[index], justify="right" if is_number else "left", overflow="fold", width=width)
        for row in cells:
            table.add_row(*(row[index] for index in shown))
        self.print(table)

    def _print_blocks(self, columns: Sequence[str], cells: Iterable[Sequence[str]]) -> None:
        longest = max(map(cell_len, columns), default=0)
        beside = self.width >= _INDENT + longest + 2 + _ROOM_FOR_A_VALUE
        for row in cells:
            self.print()
            for name, value in zip(columns, row, strict=True):
                room = self.width - _INDENT - (longest + 2 if beside else _INDENT)
                lines = [line.plain for line in Text(value).wrap(self, max(room, 1), overflow="fold")] or [""]
                label = name + " " * (longest - cell_len(name))
                if beside:
                    lines = [f"{label}  {lines[0]}", *(" " * (longest + 2) + line for line in lines[1:])]
                else:
                    lines = [name, *(" " * _INDENT + line for line in lines)]
                for line in lines:
                    self.print(Text(" " * _INDENT + line.rstrip(" "), overflow="fold"))


def _widths(names: Sequence[str], cells: Sequence[Sequence[str]], shown: Sequence[int], width: int) -> list[int] | None:
    """How wide to make each column that is shown; None if a table of `width` would break a word."""
    columns = [[names[index], *(row[index] for row in cells)] for index in shown]
    # Edges, dividers and the blanks beside each cell, as `box.SIMPLE_HEAD` has them.
    room = width - 2 - (len(columns) - 1) - 2 * len(columns)
    wanted = [max(map(cell_len, column)) for column in columns]
    least = [
        max(
            max(map(cell_len, column[0].split()), default=0),
            *(min(cell_len(word), _WHOLE_WORD) for text in column[1:] for word in text.split() or [""]),
            1,
        )
        for column in columns
    ]
    if sum(least) > room:
        return None
    given, left = list(least), room - sum(least)
    # Those that lack least are served first, so that few columns are wrapped.
    for index in sorted(range(len(columns)), key=lambda one: wanted[one] - least[one]):
        more = min(wanted[index] - least[index], left)
        given[index] += more
        left -= more
    return given


def cell(value: object) -> str:
    """A value as a table shows it: thousands set apart in numbers, every digit of a number and of a time (UTC)."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        value = Decimal(float.__repr__(value))
    if isinstance(value, Decimal):
        return f"{value:,f}" if value.is_finite() else str(value)
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S.%f" if value.microsecond else "%Y-%m-%d %H:%M:%S")
    if isinstance(value, date):
        return value.isoformat()
    return "" if value is None else shown(str(value))


def shown(text: str) -> str:
    """`text` on one line, hidden characters and blanks at the ends visible: `BTCUSDT␣` is not `BTCUSDT`."""
    text = visible_line(text)
    core = text.strip()
    if len(core) == len(text):
        return text
    start = len(text) - len(text.lstrip())
    ends = text[:start], text[start + len(core) :]
    before, after = ("".join(_BLANKS.get(one, ascii(one)[1:-1]) for one in end) for end in ends)
    return before + core + after


class VisibleStream:
    """Writes pieces of UTF-8 to a terminal; hidden characters are shown as escapes, other bytes as `\\xNN`."""

    def __init__(self, terminal: BinaryIO) -> None:
        self._terminal = terminal
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")

    def write(self, piece: bytes) -> None:
        """Write a piece; a character that is cut at its end waits for the next piece."""
        self._terminal.write(visible(self._decoder.decode(piece)).encode())

    def end(self) -> None:
        """Write the bytes that are still waiting: they are no whole character."""
        self._terminal.write(visible(self._decoder.decode(b"", final=True)).encode())
