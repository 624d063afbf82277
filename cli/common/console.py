"""The one place that prints to a person: no markup in data is obeyed, no hidden character reaches the terminal."""

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
        """`text` without markup: rich measures and draws every string of a table or a line through this."""
        return super().render_str(visible(text), **(options | {"markup": False, "emoji": False}))

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """The segments of a renderable; what came in as a finished `Text` is made visible here."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(visible(text), style)


class VisibleStream:
    """Writes UTF-8 that arrives in pieces to a terminal, hidden characters as escapes, other bytes as `\\xNN`."""

    def __init__(self, terminal: BinaryIO) -> None:
        self._terminal = terminal
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="backslashreplace")

    def write(self, piece: bytes) -> None:
        """The next piece; a character that is cut at its end waits for the piece after."""
        self._terminal.write(visible(self._decoder.decode(piece)).encode())

    def end(self) -> None:
        """What still waits is no whole character: its bytes are shown."""
        self._terminal.write(visible(self._decoder.decode(b"", final=True)).encode())
