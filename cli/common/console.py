"""Prints to a terminal: markup in data has no effect, and hidden characters are shown as escapes."""

from __future__ import annotations

import codecs
from collections.abc import Iterable
from typing import Any, BinaryIO

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from config.visible import visible


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
