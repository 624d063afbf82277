"""`medallion symbols build|list|check`: shows, checks and updates the symbol registry."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from cli.common.context import (
    DataDirOption,
    JsonOption,
    ServerError,
    err,
    load_settings,
    out,
    print_json,
    print_table,
)
from cli.coverage.evidence import StoredTrades, read_stored_names, read_stored_trades
from config.registry import Status, SymbolRegistry, SymbolsFile, shown_name
from config.settings import Settings
from config.symbols.build import SOURCES, render, source
from config.symbols.check import ERROR, WARNING, SymbolFinding, findings
from config.symbols.market_lists import fetch_markets
from config.symbols.markets import Markets, read_markets
from config.symbols.update import LEFT_OUT, MarketChange, update
from config.whole_file import write_whole
from deploy.embedded.layout import StackError

app = typer.Typer(help="The symbol registry.")
_SHOWN = 50


@app.callback()
def symbols() -> None:
    """The symbol registry: exchange symbols, their canonical names and limits."""


FileOption = Annotated[Path | None, typer.Option("--file", help="A symbols file. Default: the one in use.")]


def _registry(file: Path | None) -> tuple[Path, SymbolRegistry]:
    path = file or Settings().symbols_file
    return path, SymbolRegistry.load(path)


def _saved(texts: list[str]) -> dict[str, Path]:
    saved = {}
    for text in texts:
        code, equals, path = text.partition("=")
        if not (code and equals and Path(path).is_file()):
            raise typer.BadParameter(f"{text!r}: give <exchange code>=<existing file>", param_hint="--markets")
        saved[code] = Path(path)
    return saved


@app.command("build")
def build_symbols(
    exchanges: Annotated[
        str | None,
        typer.Option(
            help="Exchange codes, or names that ccxt knows. Default: those of --markets, else all exchanges of ours."
        ),
    ] = None,
    markets: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CODE=FILE", help="A saved market list (JSON of ccxt's load_markets), instead of a request."
        ),
    ] = None,
    file: FileOption = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Start with an empty file.")] = False,
    output: Annotated[Path | None, typer.Option(help="The file to write. Default: standard output.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would change.")] = False,
    many_delisted: Annotated[
        bool, typer.Option("--many-delisted", help="Accept a list that lacks most of an exchange's markets.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring a symbols file up to date with the exchanges' market lists (ccxt; no keys needed).

    New markets are added, descriptions and limits are updated, and markets that are no longer listed are marked as
    delisted, never removed. Names in the file stay. A market for which no entry can be made (invalid characters in its
    name, one name for two markets) is left out and named, with exit code 0; an entry in the file stays as it is. With
    --json the changes are printed, and the file is written only with --output.
    """
    saved = _saved(markets or [])
    codes = [code.strip() for code in (exchanges or "").split(",") if code.strip()]
    lists = _market_lists(codes or [*saved] or [*SOURCES], saved)
    before = SymbolsFile(version=1, exchanges={}) if fresh else _registry(file)[1].content
    after, changes = update(before, lists, datetime.now(UTC).date(), many_delisted=many_delisted)
    written = None if dry_run else output
    left_out = [change for change in changes if change.what == LEFT_OUT]
    changes = [change for change in changes if change.what != LEFT_OUT]
    if as_json:
        named = [{"exchange": market.exchange, "symbol": market.symbol, "why": market.why} for market in left_out]
        print_json({"changes": changes, "left_out": named, "written": written})
    else:
        _print_changes(changes)
    for market in left_out:
        err.print(f"warning: {market.exchange} {shown_name(market.symbol)} is left out: {market.why}", markup=False)
    if written is not None:
        write_whole(written, render(after).encode())
        err.print(f"Wrote {written}. Use it with MEDALLION_SYMBOLS_FILE={written}.")
    elif not (dry_run or as_json):
        sys.stdout.write(render(after))


def _market_lists(codes: list[str], saved: dict[str, Path]) -> dict[str, Markets]:
    # Check all names before the first list is fetched.
    classes = {code: source(code)[0] for code in codes}
    fetched: dict[str, Markets] = {}
    lists: dict[str, Markets] = {}
    for number, (code, name) in enumerate(classes.items(), start=1):
        if code in saved:
            lists[code] = read_markets(saved[code])
            continue
        with err.status(f"Asking {name} ({number} of {len(classes)}) …"):
            lists[code] = fetched[name] = fetched.get(name) or fetch_markets(name)
    return lists


def _print_changes(changes: list[MarketChange]) -> None:
    """Print to standard error, since the file may go to standard output."""
    counts: dict[tuple[str, str], int] = {}
    for change in changes:
        counts[change.exchange, change.what] = counts.get((change.exchange, change.what), 0) + 1
    for (exchange, what), count in counts.items():
        err.print(f"{exchange}: {count:,} {what}")
    for change in changes[:_SHOWN]:
        fields = ", ".join(f"{name} {before} → {after}" for name, (before, after) in change.fields.items())
        err.print(f"  {change.exchange} {change.symbol} {change.what} {fields or change.canonical}".rstrip())
    if len(changes) > _SHOWN:
        err.print(f"  and {len(changes) - _SHOWN:,} more (--json shows all)")
    if not changes:
        err.print("Nothing has changed.")


@app.command("list")
def list_symbols(
    exchange: Annotated[str | None, typer.Option(help="Only this exchange code.")] = None,
    status: Annotated[str | None, typer.Option(help="Only markets with this status: active, halted, delisted.")] = None,
    held: Annotated[
        bool,
        typer.Option(
            "--held",
            help="Only markets with trades in the stack, one line each under its first name, with the number of trades"
            " under all its names, the first and the last.",
        ),
    ] = False,
    file: FileOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the markets that Silver accepts: names, kind, steps, limits; when each was listed, halted and delisted."""
    settings = load_settings(data_dir) if held else Settings()
    registry = SymbolRegistry.load(file or settings.symbols_file)
    if exchange is not None and exchange not in registry.exchanges:
        raise typer.BadParameter(f"{exchange!r} is none of {', '.join(sorted(registry.exchanges))}")
    if status is not None and status not in get_args(Status):
        raise typer.BadParameter(f"{status!r} is none of {', '.join(get_args(Status))}")
    rows = [row for row in _rows(registry) if exchange in {None, row["exchange"]} and status in {None, row["status"]}]
    if held:
        stored = read_stored_trades(settings)
        # The numbers are the market's. Beside an alias they would pass for the alias' own.
        names = {(code, symbol) for code, markets in registry.content.exchanges.items() for symbol in markets}
        markets = [row for row in rows if (row["exchange"], row["exchange_symbol"]) in names]
        places = [(row, stored.get((row["exchange"], row["canonical"]))) for row in markets]
        rows = [row | asdict(trades) for row, trades in places if trades is not None]
    if as_json:
        print_json(rows)
        return
    described = ("base", "quote", "kind", "tick", "lot", "price_max", "quantity_max")
    life = ("status", "listed_on", "halted_on", "delisted_on")
    more = ("first_trade", "last_trade", "trades")
    columns = ("exchange", "exchange_symbol", "canonical", *(() if held else described), *life, *(more if held else ()))
    print_table("Symbols", columns, [tuple(row[column] for column in columns) for row in rows])


def _rows(registry: SymbolRegistry) -> list[dict[str, Any]]:
    described = {
        (exchange, name): entry.model_dump(
            mode="json",
            include={
                *("kind", "tick", "lot", "quantity_min", "notional_min"),
                *("status", "listed_on", "halted_on", "delisted_on"),
            },
        )
        for exchange, markets in registry.content.exchanges.items()
        for symbol, entry in markets.items()
        for name in (symbol, *entry.aliases)
    }
    return [row | described[row["exchange"], row["exchange_symbol"]] for row in registry.lookup]


@app.command("check")
def check_symbols(file: FileOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Check a symbols file: format, collisions, limits that no trade can pass, delisted markets.

    Where a stack is known, also whether Silver has trades under another name than the file's: of a market that was
    renamed or is not in the file any more. These are warnings with the commands that mend them. The exit code is 1 if
    there is an error, and 0 if there are only warnings.
    """
    settings, not_asked = _stack(data_dir)
    path, registry = _registry(file or settings.symbols_file)
    stored: Mapping[tuple[str, str, str], StoredTrades] = {}
    if not not_asked:
        stored, not_asked = _stored_names(settings)
    found = [*findings(registry, datetime.now(UTC).date()), *_renamed(registry, stored)]
    errors = [finding for finding in found if finding.level == ERROR]
    statuses = [entry.status for markets in registry.content.exchanges.values() for entry in markets.values()]
    if as_json:
        print_json(
            {
                "file": path,
                "rules_version": registry.rules_version,
                "markets": {status: statuses.count(status) for status in sorted(set(statuses))},
                "findings": found,
                "stored_trades": not_asked or "compared",
            }
        )
    else:
        _print_findings(found)
        verdict = f"{len(errors):,} errors" if errors else "no error"
        out.print(
            f"{path}: {len(registry.lookup):,} names of {len(registry.exchanges)} exchange codes,"
            f" {statuses.count('delisted'):,} markets delisted, {verdict}. Rules version {registry.rules_version}."
        )
        if not_asked:
            out.print(f"The names of stored trades were not compared: {not_asked}", markup=False)
    if errors:
        raise typer.Exit(1)


def _stack(data_dir: Path | None) -> tuple[Settings, str]:
    """The settings of the stack; without one those of the environment, and why there is none."""
    try:
        return load_settings(data_dir), ""
    except StackError as error:
        if data_dir is not None:
            raise
        return Settings(), str(error)


def _stored_names(settings: Settings) -> tuple[dict[tuple[str, str, str], StoredTrades], str]:
    """What Silver has by names (`read_stored_names`), and why nobody knows; "" if Silver was asked."""
    try:
        return read_stored_names(settings), ""
    except ServerError as error:
        return {}, str(error)


def _renamed(registry: SymbolRegistry, stored: Mapping[tuple[str, str, str], StoredTrades]) -> Iterator[SymbolFinding]:
    """The markets of which Silver has trades under another name than the registry's."""
    canonical = {(row["exchange"], row["exchange_symbol"]): row["canonical"] for row in registry.lookup}
    for (exchange, own, name), trades in stored.items():
        now = canonical.get((exchange, own))
        if now == name:
            continue
        first, last = trades.first_trade.date(), trades.last_trade.date()
        held = f"Silver has {trades.trades:,} trades under the name {name}, of {first} to {last}"
        if now is None:
            yield SymbolFinding(
                WARNING,
                exchange,
                own,
                f"is not in the file, and {held}: put it back, or a re-derivation of these days rejects them",
            )
        else:
            yield SymbolFinding(
                WARNING,
                exchange,
                own,
                f"is {now} now, and {held}: when these days are over, `medallion offload run`, then `medallion rederive"
                f" --from {first} --to {last + timedelta(days=1)} --exchange {exchange} --symbol {now}`",
            )


def _print_findings(found: list[SymbolFinding]) -> None:
    for finding in found:
        out.print(f"{finding.level}: {finding.exchange} {finding.symbol}: {finding.message}", soft_wrap=True)
