"""Candles and volume as PNG or SVG (matplotlib, the extra `chart`) and as HTML (the charts of the page, no network)."""

from __future__ import annotations

import io
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, PackageLoader

from cli.chart.candles import CandleSeries, moment
from config.errors import MedallionError
from config.whole_file import write_whole

_UP, _DOWN, _VOLUME = "#1a9e77", "#d1495b", "#7d8ba1"
_WIDTH, _HEIGHT = 12.8, 7.2  # inches, at 100 dots each
_BODY = 0.7
_TIMES = 8
_LIBRARY = "lightweight-charts.standalone.production.js"


class PictureError(MedallionError):
    """A picture cannot be made."""


def write_drawing(series: CandleSeries, path: Path) -> None:
    """Write a PNG or an SVG, as the name of the file says.

    Raises:
        PictureError: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415 - an extra, and half a second
    except ImportError as error:
        raise PictureError(
            f"{path.suffix} needs matplotlib: `pip install 'medallion[chart]'`. The terminal and .html do without."
        ) from error
    figure = Figure(figsize=(_WIDTH, _HEIGHT), layout="constrained")
    prices, volumes = figure.subplots(2, sharex=True, height_ratios=(4, 1))
    candles = series.candles
    places = range(len(candles))
    colours = [_UP if one.is_up else _DOWN for one in candles]
    prices.vlines(places, [one.low for one in candles], [one.high for one in candles], colors=colours, linewidth=1)
    bottoms = [min(one.open, one.close) for one in candles]
    bodies = [abs(one.close - one.open) for one in candles]
    # The edge keeps a body of no height in sight.
    prices.bar(places, bodies, _BODY, bottoms, color=colours, edgecolor=colours, linewidth=1)
    volumes.bar(places, [one.volume for one in candles], _BODY, color=_VOLUME)
    # A `$` of a symbol is no formula.
    prices.set_title(series.title, loc="left", parse_math=False)
    prices.set_ylabel("price")
    volumes.set_ylabel("volume")
    for axes in (prices, volumes):
        axes.grid(alpha=0.3)
        axes.ticklabel_format(axis="y", style="plain", useOffset=False)
    ticks = [*places][:: -(-len(candles) // _TIMES)]
    volumes.set_xticks(ticks, [moment(candles[tick].start) for tick in ticks], rotation=20, ha="right")
    drawn = io.BytesIO()
    figure.savefig(drawn, format=path.suffix.removeprefix("."))
    write_whole(path, drawn.getvalue())


def write_page(series: CandleSeries, path: Path) -> None:
    """Write an HTML page that needs nothing else.

    Raises:
        OSError: the file cannot be written.
    """
    template = Environment(loader=PackageLoader("cli.chart", "."), autoescape=True).get_template("chart.html")
    library = (files("serving") / "page" / _LIBRARY).read_text(encoding="utf-8")
    content = template.render(
        title=series.title,
        library=library,
        prices=[
            {
                "time": int(one.start.timestamp()),
                "open": one.open,
                "high": one.high,
                "low": one.low,
                "close": one.close,
            }
            for one in series.candles
        ],
        volumes=[{"time": int(one.start.timestamp()), "value": one.volume} for one in series.candles],
        colours={"up": _UP, "down": _DOWN, "volume": _VOLUME},
    )
    write_whole(path, content.encode())
