"""`medallion chart`: candles and volume of a market, in the terminal or as a picture."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from cli.chart.candles import Candle, CandleSeries
from cli.chart.picture import write_drawing, write_page
from cli.chart.terminal import draw, room
from cli.common.arguments import MOST_ROWS, check_names, check_span
from cli.common.context import DataDirOption, JsonOption, err, load_settings, out, print_json
from cli.common.statements import http_client, rows
from config.errors import MedallionError
from config.valid_times import EARLIEST, END
from ddl.layers import Timeframe, load_layers

_FORMATS = ["%Y-%m-%d", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]
_FRAMES = {frame.code: frame for frame in load_layers().timeframes}
_DRAWINGS = (".png", ".svg")
_PAGE = ".html"
_LAST_OF_A_PICTURE = 500
# In a pipe a terminal's height is unknown.
_ROWS = 24
_FEWEST_ROWS, _MOST_ROWS = 10, 40


class NoCandlesError(MedallionError):
    """There is nothing to draw."""


def chart(
    symbol: Annotated[str, typer.Argument(help="Canonical symbol, as BTCUSDT.")],
    exchange: Annotated[str, typer.Option(help="Code of exchange and market.")],
    frame: Annotated[str, typer.Option(help=f"Time frame: {', '.join(_FRAMES)}.")] = "1m",
    since: Annotated[
        datetime | None,
        typer.Option("--from", help="Candles that begin at or after this time (UTC).", formats=_FORMATS),
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--to", help="Candles that begin before this time (UTC).", formats=_FORMATS)
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            help=f"At most so many, the newest. Default: what the terminal has room for, {_LAST_OF_A_PICTURE} as a"
            " picture, with --json or --from all.",
            min=1,
            max=MOST_ROWS,
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--out", help="Write a picture: FILE.png or FILE.svg (matplotlib), or FILE.html.")
    ] = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show candles and volume of a market in the terminal, or write them as a picture.

    Hot candles, and those that Iceberg alone has once the offload has run. A window without a trade has no candle and
    no room in the chart.
    """
    check_span(since, until)
    found = _frame(frame)
    write = _writer(output)
    settings = load_settings(data_dir)
    wanted = last or (None if since or as_json else _LAST_OF_A_PICTURE)
    with http_client(settings) as client:
        view = next(iter(rows(client, "hot_and_cold", {"view": found.view})), None)
        if view is None:
            raise NoCandlesError(
                f"ClickHouse has no view {found.view} that this user may read: see `medallion ddl status` and"
                " `medallion doctor`."
            )
        asked = {
            "view": view["name"],
            "exchange": exchange,
            "symbol": symbol,
            "since": _text(since or EARLIEST),
            "until": _text(until or END),
            "last": wanted or 2**63,
        }
        candles = [_candle(*row.values()) for row in rows(client, "candles", asked)][::-1]
    if not candles:
        check_names(settings, exchange, symbol, canonical=True)
        raise NoCandlesError(
            f"No {frame} candle of {symbol} on {exchange} in this span: the view latest_prices (`medallion query`)"
            " names the markets with trades."
        )
    series = CandleSeries(exchange, symbol, frame, candles)
    if as_json:
        print_json({"exchange": exchange, "symbol": symbol, "frame": frame, "candles": candles})
    if write is not None and output is not None:
        write(series, output)
        err.print(f"Wrote {series.title}: {output}", soft_wrap=True)
    elif not as_json:
        _print(series)


def _frame(code: str) -> Timeframe:
    if code not in _FRAMES:
        raise typer.BadParameter(f"{code!r}: choose one of {', '.join(_FRAMES)}", param_hint="--frame")
    return _FRAMES[code]


def _writer(output: Path | None) -> Callable[[CandleSeries, Path], None] | None:
    if output is None:
        return None
    kind = output.suffix.lower()
    if kind not in {*_DRAWINGS, _PAGE}:
        raise typer.BadParameter(
            f"{output}: the end of the name says what is written: .png, .svg or .html", param_hint="--out"
        )
    if output.is_dir() or not output.parent.is_dir():
        raise typer.BadParameter(f"{output}: give a file in a folder that exists", param_hint="--out")
    return write_page if kind == _PAGE else write_drawing


def _candle(
    start: datetime, opened: float, high: float, low: float, close: float, volume: float, trades: int
) -> Candle:
    return Candle(start.astimezone(UTC), opened, high, low, close, volume, trades)


def _text(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def _print(series: CandleSeries) -> None:
    height = min(max(out.height - 2, _FEWEST_ROWS), _MOST_ROWS) if out.is_terminal else _ROWS
    out.print(series.title, style="bold")
    for line in draw(series, out.width, height):
        out.print(line, no_wrap=True, overflow="crop")
    left_out = len(series.candles) - room(out.width, series.candles)
    if left_out > 0:
        err.print(f"The oldest {left_out:,} have no room here: --out FILE.html shows all.")
