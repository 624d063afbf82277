"""Invariant: what strangers wrote is shown, never obeyed: no markup, no escape sequence, no hidden direction."""

from __future__ import annotations

import io
import itertools
import json
import logging
import re
import unicodedata
from datetime import UTC, datetime

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st
from rich.progress import Progress, TextColumn
from rich.table import Table
from rich.text import Text

from cli.common.console import SafeConsole, VisibleStream, cell
from cli.dlq import dead_letter as dead_letters
from config.process import logs
from config.visible import visible, visible_json, visible_line

ATTACKS = (
    "[/oops]",
    "[red]BTC[/red]",
    "[link=https://example.com]x[/link]",
    ":skull:",
    "\x1b]0;title\x07",
    "\x1b[2J\x1b[H",
    "\x1b]52;c;c2VjcmV0\x07",
    "\x1b]8;;https://example.com\x1b\\x\x1b]8;;\x1b\\",
    "\x9b31m",
    "BTC\u202eTDSU",
    "\u2066a\u2069",
    "a\x00b",
    "BTC\u200bUSDT",
    "\U000e0041",
    "a\rb",
    "\ud800",
)
TEXTS = st.text(st.characters(exclude_categories=())) | st.sampled_from(ATTACKS)


def hidden(text: str) -> set[str]:
    """What of a text steers or hides, by its Unicode category, not by the code's own pattern."""
    return {c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"} and c not in "\n\t"}


def console() -> tuple[SafeConsole, io.StringIO]:
    """As on a terminal of 400 columns."""
    drawn = io.StringIO()
    made = SafeConsole(width=400)
    made.file = drawn
    return made, drawn


@given(TEXTS)
def test_a_line_says_what_it_was_given(text: str) -> None:
    made, drawn = console()
    made.print(text, soft_wrap=True)
    assert not hidden(drawn.getvalue())
    # A tab becomes spaces, up to the next stop.
    assert drawn.getvalue().split() == visible(text).split()


@given(TEXTS)
@example("".join(ATTACKS))
def test_a_table_shows_its_cells(text: str) -> None:
    made, drawn = console()
    table = Table(title=visible_line(text[:20]))
    table.add_column(visible_line(text[:20]))
    table.add_row(cell(text))
    table.add_row(Text(text))
    made.print(table)
    assert not hidden(drawn.getvalue())
    if len(text) < 100 and text.strip() == text:
        assert visible_line(text) in drawn.getvalue()


@given(TEXTS)
def test_a_progress_bar_does_not_obey_its_description(text: str) -> None:
    made, drawn = console()
    with Progress(TextColumn("{task.description}", markup=False), console=made) as progress:
        progress.add_task(text)
    assert not hidden(drawn.getvalue())


@given(TEXTS)
def test_an_escape_is_the_character_s_own(text: str) -> None:
    assert not hidden(visible(text))
    assert not hidden(visible_line(text))
    assert "\n" not in visible_line(text)
    assert (visible_line(text) != text) == bool(hidden(text) or set("\n\t") & set(text))
    assert hidden(text) or visible(text) == text


@given(st.text(st.characters(exclude_categories=("Cs",))))
def test_json_keeps_its_value(text: str) -> None:
    shown = visible_json(json.dumps({"value": text}, ensure_ascii=False))
    assert not hidden(shown)
    assert json.loads(shown) == {"value": text}


@given(st.binary(), st.lists(st.integers(0, 100)))
def test_a_streamed_answer_may_be_cut_anywhere(answer: bytes, cuts: list[int]) -> None:
    terminal = io.BytesIO()
    stream = VisibleStream(terminal)
    places = sorted({0, len(answer), *(cut for cut in cuts if cut < len(answer))})
    for start, end in itertools.pairwise(places):
        stream.write(answer[start:end])
    stream.end()
    assert terminal.getvalue().decode() == visible(answer.decode(errors="backslashreplace"))


@pytest.mark.parametrize("attack", [attack for attack in ATTACKS if attack != "\ud800"])
def test_a_dead_letter_is_shown(attack: str) -> None:
    dead_letter = dead_letters.ShownDeadLetter(
        coordinates={"raw_topic": attack, "raw_partition": 0, "raw_offset": 1, "published_at": datetime.now(UTC)},
        rule={"reason": "trade_contradicts", "field": "symbol", "value": attack, "limit": attack},
        raw={"message": attack, "bytes": 3, "source": "trades_raw"},
        bronze={"symbol": attack, "source": "bronze_trades"},
        held={"symbol": attack, "side": attack},
        resolution={},
    )
    made, drawn = console()
    made.print(dead_letters.Panels(dead_letter))
    assert not hidden(drawn.getvalue())
    assert visible_line(attack) in drawn.getvalue()
    assert "What Silver has" in drawn.getvalue()


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_log_line_does_not_steer(
    attack: str, *, terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, before = logging.getLogger(), (logging.getLogger().handlers[:], logging.getLogger().level)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    try:
        logs.configure("INFO", "test")
        logging.getLogger("aiokafka").error(attack, exc_info=ValueError(attack))
        written = capsys.readouterr().err
    finally:
        structlog.reset_defaults()
        root.handlers, root.level = before
    # Colours are the renderer's own.
    assert not hidden(re.sub(r"\x1b\[[0-9;]*m", "", written)), written
    assert attack not in written or not hidden(attack)
