"""`medallion symbols build`: the symbol registry from the exchanges' own market lists."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from ccxt import BaseError

from cli.context import err
from config.errors import MedallionError
from config.symbols_build import SOURCES, build, render

app = typer.Typer(help="The symbol registry.")


class MarketListError(MedallionError):
    """An exchange could not be asked for its markets."""


@app.callback()
def symbols() -> None:
    """The symbol registry: exchange symbols, their canonical names and limits."""


@app.command("build")
def build_symbols(
    exchanges: Annotated[str, typer.Option(help="Exchange codes, separated by commas.")] = ",".join(SOURCES),
    output: Annotated[Path | None, typer.Option(help="Write here; without it to standard output.")] = None,
) -> None:
    """Make a symbols file from the exchanges' market lists (ccxt). Needs a network that reaches them."""
    codes = [code.strip() for code in exchanges.split(",") if code.strip()]
    with err.status("Asking the exchanges …"):
        try:
            text = render(build(codes))
        except BaseError as error:
            raise MarketListError(f"An exchange gave no market list: is there a network to it? ({error})") from error
    if output is None:
        sys.stdout.write(text)
        return
    output.write_text(text, encoding="utf-8")
    err.print(f"Wrote {output}. Use it with MEDALLION_SYMBOLS_FILE={output}.")
