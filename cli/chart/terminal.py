"""Draws candles and volume as lines of text. A line has two steps of price, or eight of volume."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import groupby

from rich.cells import cell_len
from rich.text import Text

from cli.chart.candles import Candle, CandleSeries, moment, plain

_UP, _DOWN, _AXIS = "green", "red", "dim"
# By what is in the upper and the lower half of a row: 0 nothing, 1 wick, 2 body.
_GLYPHS = {
    (0, 0): " ",
    (0, 1): "╷",
    (0, 2): "╻",
    (1, 0): "╵",
    (1, 1): "│",
    (1, 2): "╽",
    (2, 0): "╹",
    (2, 1): "╿",
    (2, 2): "┃",
}
_VOLUME = "volume"
_LEVELS = " ▁▂▃▄▅▆▇█"
_LEAST_ROWS = 4
_TICK_ROWS = 4
_TIME_GAP = 3
_WIDEST_STEP = 4


def room(width: int, candles: Sequence[Candle]) -> int:
    """How many candles a chart of so many columns shows, at least one."""
    return max(width - _axis_width(candles), 1)


def draw(series: CandleSeries, width: int, height: int) -> list[Text]:
    """The lines of a chart, at most `width` columns and about `height` rows.

    Candles that do not fit are left out, the oldest first.
    """
    fits = room(width, series.candles)
    shown = series.candles[-fits:]
    # Columns stay free between candles where there is room.
    step = min(fits // len(shown), _WIDEST_STEP)
    volume_rows = max(height // 6, 2)
    price_rows = max(height - volume_rows - 1, _LEAST_ROWS)
    return [
        *_prices(shown, price_rows, step),
        *_volumes(shown, volume_rows, step),
        Text(_times([moment(one.start) for one in shown], step, width), style=_AXIS),
    ]


def _axis_width(candles: Sequence[Candle]) -> int:
    """Columns for the axis: the mark and the longest text beside it."""
    numbers = [number for one in candles for number in (one.low, one.high, one.volume)]
    return 2 + max(cell_len(text) for text in (_VOLUME, *map(plain, numbers)))


def _prices(candles: Sequence[Candle], rows: int, step: int) -> list[Text]:
    low, high = min(one.low for one in candles), max(one.high for one in candles)

    def height(price: float) -> int:
        """The half of a row, from below, in which a price is."""
        share = (price - low) / (high - low) if high > low else 0.5
        return min(int(share * 2 * rows), 2 * rows - 1)

    heights = [
        (height(one.low), height(min(one.open, one.close)), height(max(one.open, one.close)), height(one.high))
        for one in candles
    ]

    def glyph(row: int, index: int) -> str:
        bottom, body, top, tip = heights[index]
        upper, lower = (
            2 if body <= half <= top else 1 if bottom <= half <= tip else 0 for half in (2 * row + 1, 2 * row)
        )
        return _GLYPHS[upper, lower]

    labels = _labels(low, high, rows)
    return [_line(candles, step, partial(glyph, row), labels.get(row, "")) for row in reversed(range(rows))]


def _labels(low: float, high: float, rows: int) -> dict[int, str]:
    """The numbers beside the rows: lowest and highest to their last digit."""
    digits = max(len(text.partition(".")[2]) for text in (plain(low), plain(high)))
    if low == high:
        return {rows // 2: plain(low)}
    labels = {0: plain(low), rows - 1: plain(high)}
    for row in range(_TICK_ROWS, rows - 2, _TICK_ROWS):
        label = _shortened(low + (high - low) * (row + 0.5) / rows, digits, max(map(len, (plain(low), plain(high)))))
        if label not in labels.values():
            labels[row] = label
    return labels


def _shortened(number: float, digits: int, longest: int) -> str:
    """A number between two others with at most so many decimals, so that it is no longer than they are."""
    return next(
        (text for places in range(digits, 0, -1) if len(text := f"{number:,.{places}f}") <= longest), f"{number:,.0f}"
    )


def _volumes(candles: Sequence[Candle], rows: int, step: int) -> list[Text]:
    most = max(one.volume for one in candles)
    levels = len(_LEVELS) - 1
    # A volume that is not 0 is seen.
    filled = [max(round(one.volume / most * rows * levels), 1) if one.volume > 0 else 0 for one in candles]

    def glyph(row: int, index: int) -> str:
        return _LEVELS[min(max(filled[index] - row * levels, 0), levels)]

    labels = {rows - 1: plain(most), 0: _VOLUME}
    return [_line(candles, step, partial(glyph, row), labels.get(row, "")) for row in reversed(range(rows))]


def _line(candles: Sequence[Candle], step: int, glyph: Callable[[int], str], label: str) -> Text:
    line = Text()
    for style, group in groupby(range(len(candles)), key=lambda index: _UP if candles[index].is_up else _DOWN):
        line.append("".join(glyph(index).ljust(step) for index in group), style=style)
    return line.append(f"│ {label}".rstrip(), style=_AXIS)


def _times(texts: Sequence[str], step: int, width: int) -> str:
    """Times below the columns of their candles, as many as have room; the day where it is another."""
    line, day = "", ""
    for index, text in enumerate(texts):
        date, _, clock = text.partition(" ")
        label = clock if date == day else text
        place = index * step
        if place >= (len(line) + _TIME_GAP if line else 0) and place + len(label) <= width:
            line = line.ljust(place) + label
            day = date
    return line
