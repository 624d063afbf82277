"""Invariant: a chart shows every candle that fits, at its place, with its numbers to the last digit."""

from __future__ import annotations

import json
import re
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest
import typer
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from cli.chart.candles import Candle, CandleSeries, plain
from cli.chart.command import _writer
from cli.chart.picture import PictureError, write_drawing, write_page
from cli.chart.terminal import draw, room

START = datetime(2024, 8, 8, 23, 50, tzinfo=UTC)
PRICES = st.floats(1e-9, 1e6).map(lambda price: float(f"{price:.9g}"))


@st.composite
def some(draw_: st.DrawFn) -> list[Candle]:
    """Candles as trades make them: high and low hold open and close."""
    found = []
    for index in range(draw_(st.integers(1, 60))):
        opened, close, one, other = (draw_(PRICES) for _ in range(4))
        low, *_, high = sorted((opened, close, one, other))
        volume = draw_(st.floats(0, 1e9).map(lambda amount: float(f"{amount:.9g}")))
        found.append(Candle(START + timedelta(minutes=index), opened, high, low, close, volume, index))
    return found


def series(candles: list[Candle], symbol: str = "BTCUSDT") -> CandleSeries:
    return CandleSeries("binance", symbol, "1m", candles)


@example([Candle(START, 1.0, 999999.0, 0.00000012, 2.0, 1.0, 1)] * 16, 30, 20)
@example([Candle(START, 1.0, 1.0, 1.0, 1.0, 0.0, 1)] * 6, 30, 8)
@given(some(), st.integers(30, 160), st.integers(8, 50))
def test_every_candle_that_fits_has_its_column(candles: list[Candle], width: int, height: int) -> None:
    *rows, times = [line.plain for line in draw(series(candles), width, height)]
    fits = min(room(width, candles), len(candles))
    shown = candles[-fits:]
    if room(width, candles) > 1:
        assert max(map(cell_len, rows)) <= width
    volume_rows = max(height // 6, 2)
    prices, volumes = rows[:-volume_rows], rows[-volume_rows:]
    low, high = min(one.low for one in shown), max(one.high for one in shown)
    labels = [found for row in prices if (found := label(row))]
    assert (labels[0], labels[-1], len({*labels})) == (plain(high), plain(low), len(labels))
    assert label(volumes[0]) == plain(max(one.volume for one in shown))
    step = prices[0].rindex("│") // fits
    for index, one in enumerate(shown):
        column = [row[index * step] for row in prices]
        assert set(column) <= set(" ╷╻╵│╽╹╿┃")
        drawn = [row for row, glyph in enumerate(column) if glyph != " "]
        body = [row for row, glyph in enumerate(column) if glyph in "╻╽╹╿┃"]
        for part in (drawn, body):
            assert part == [*range(part[0], part[-1] + 1)]
        assert drawn[0] == 0 or one.high < high or high == low
        assert drawn[-1] == len(prices) - 1 or one.low > low or high == low
        assert ({row[index * step] for row in volumes} == {" "}) == (one.volume == 0)
    assert times.startswith(f"{shown[0].start:%Y-%m-%d %H:%M}"[: len(times)])


def label(row: str) -> str:
    """What is behind the axis, the last bar of a row."""
    return row.rpartition("│")[2].strip()


def test_what_has_no_room_is_the_oldest() -> None:
    candles = [Candle(START, 1.0, 3.0, 1.0, 2.0, 1.0, 1), Candle(START, 2.0, 2.5, 2.0, 2.5, 0.0, 1)]
    drawn = draw(series(candles), len("┃│ volume"), 9)
    assert [label(drawn[0].plain), label(drawn[5].plain)] == ["2.5", "2"]


def test_the_characters_of_candles() -> None:
    # Eight halves from 0 to 8, from below; a price between two halves is in the upper one.
    shapes = [(2.0, 8.0, 0.0, 6.0), (6.0, 7.0, 1.0, 2.0), (4.0, 4.0, 4.0, 4.0), (0.0, 8.0, 0.0, 8.0)]
    candles = [Candle(START, *prices, volume, 1) for prices, volume in zip(shapes, (8.0, 4.0, 0.0, 1.0), strict=True)]
    lines = draw(series(candles), len("....│ volume"), 7)
    assert [line.plain[:4] for line in lines[:6]] == ["╽╽ ┃", "┃┃╻┃", "┃┃ ┃", "│╵ ┃", "█   ", "██ ▂"]
    (up, down, *_) = lines[0].spans
    assert (up.style, down.style) == ("green", "red")


def test_numbers_are_shown_whole() -> None:
    assert [plain(number) for number in (2.4e-07, 61837.63, 1e21, 0.0, 1000.0)] == [
        "0.00000024",
        "61,837.63",
        "1,000,000,000,000,000,000,000",
        "0",
        "1,000",
    ]


CANDLES = [
    Candle(START + timedelta(minutes=index), 100.0 + index, 103.5 + index, 99.25, 101.0, 5.0 * index, index)
    for index in range(40)
]


def test_a_drawing_is_what_its_name_says(tmp_path: Path) -> None:
    # `$` would begin a formula, `<` an element.
    strange = series(CANDLES, "A$B$<x>")
    write_drawing(strange, tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    write_drawing(strange, tmp_path / "a.svg")
    assert ElementTree.parse(tmp_path / "a.svg").getroot().tag.endswith("svg")


def test_without_matplotlib_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(PictureError, match=r"\.png needs matplotlib: `pip install 'medallion\[chart\]'`"):
        write_drawing(series(CANDLES), tmp_path / "a.png")


def test_a_page_has_the_candles_and_needs_no_network(tmp_path: Path) -> None:
    write_page(series(CANDLES, "</script><b>"), tmp_path / "a.html")
    content = (tmp_path / "a.html").read_text("utf-8")
    assert "</script><b>" not in content
    assert re.search(r"<(?:script|link|img)[^>]*(?:src|href)=", content) is None
    prices, volumes = (
        json.loads(re.search(rf"const {name} = (.*);\n", content)[1])  # type: ignore[index]
        for name in ("prices", "volumes")
    )
    names = ("open", "high", "low", "close")
    assert [(one["time"], *(one[name] for name in names)) for one in prices] == [
        (one.start.timestamp(), *(getattr(one, name) for name in names)) for one in CANDLES
    ]
    assert [one["value"] for one in volumes] == [one.volume for one in CANDLES]


@pytest.mark.parametrize("name", ["a.pdf", "a", "", "none/a.png"])
def test_a_file_that_cannot_be_meant_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(typer.BadParameter):
        _writer(tmp_path / name)
