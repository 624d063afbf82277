"""`medallion symbols build|list|check`: the symbol registry, and how to make it of the exchanges' market lists."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from ccxt import BaseError

from cli.context import JsonOption, err, out, print_json, print_table
from config.errors import MedallionError
from config.registry import SymbolRegistry
from config.settings import Settings
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


FileOption = Annotated[Path | None, typer.Option("--file", help="A symbols file; without it the one in use.")]


def _registry(file: Path | None) -> tuple[Path, SymbolRegistry]:
    path = file or Settings().symbols_file
    return path, SymbolRegistry.load(path)


@app.command("list")
def list_symbols(
    exchange: Annotated[str | None, typer.Option(help="Only this exchange code.")] = None,
    file: FileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the markets that Silver accepts, with their limits."""
    _, registry = _registry(file)
    rows = [row for row in registry.lookup.to_pylist() if exchange in {None, row["exchange"]}]
    if as_json:
        print_json(rows)
        return
    columns = ("exchange", "exchange_symbol", "canonical", "base", "quote", "price_max", "quantity_max")
    print_table("Symbols", columns, [tuple(row[column] for column in columns) for row in rows])


@app.command("check")
def check_symbols(file: FileOption = None) -> None:
    """Check a symbols file: format, limits, and that no two markets of an exchange share a canonical symbol."""
    path, registry = _registry(file)
    out.print(f"{path}: {registry.lookup.num_rows:,} names of {len(registry.exchanges)} exchange codes, no collision.")
