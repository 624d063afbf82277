"""Checks of arguments that several commands have: time spans, addresses, names of markets."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from datetime import UTC, datetime
from urllib.parse import urlsplit

import typer

from config.errors import MedallionError
from config.registry import SymbolRegistry, own_names
from config.settings import Settings
from config.valid_times import EARLIEST, END

WEBSOCKET = ("ws", "wss")
HTTP = ("http", "https")
# The bounds of options: longer times and larger numbers are typing errors, and libraries cannot take all of them.
YEAR_S = 31_536_000
MOST_DAYS = 36_500
MOST_ROWS = 1_000_000


class UnknownNameError(MedallionError):
    """An exchange or symbol is neither in the settings nor in the symbols file; the message names similar ones."""


def check_span(since: datetime | None, until: datetime | None) -> None:
    """Check that `--from` is before `--to`, where both are given, and that every layer can store these times.

    Raises:
        typer.BadParameter: nothing is between them, or one is before 1970 or after 2199.
    """
    for option, moment in (("--from", since), ("--to", until)):
        if moment is not None and not EARLIEST <= moment.replace(tzinfo=UTC) <= END:
            raise typer.BadParameter(
                f"{moment:%Y-%m-%dT%H:%M:%S} is not from 1970 to 2199: no trade has such a time", param_hint=option
            )
    if since is not None and until is not None and since >= until:
        raise typer.BadParameter(
            f"{until:%Y-%m-%dT%H:%M:%S} is not after --from ({since:%Y-%m-%dT%H:%M:%S}): nothing is between them",
            param_hint="--to",
        )


def check_address(address: str | None, schemes: Collection[str], option: str) -> None:
    """Check the scheme and host of an address that an option names.

    Raises:
        typer.BadParameter: it has another scheme, or no host.
    """
    if address is None:
        return
    try:
        parts = urlsplit(address)
        is_one = parts.scheme in schemes and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:  # brackets that do not match, a port that is no number
        is_one = False
    if not is_one:
        wanted = " or ".join(f"{scheme}://HOST:PORT/…" for scheme in schemes)
        raise typer.BadParameter(f"{address!r} is no such address: give {wanted}", param_hint=option)


def near(name: str, known: Collection[str]) -> str:
    """` (near it: …)` with the known names that look like `name`, or nothing."""
    by_folded = {one.casefold(): one for one in known}
    found = [by_folded[one] for one in difflib.get_close_matches(name.casefold(), by_folded, n=3)]
    return f" (near it: {', '.join(found)})" if found else ""


def check_names(settings: Settings, exchange: str, symbol: str, *, canonical: bool) -> SymbolRegistry:
    """Check that the settings or the symbols file know an exchange code and a symbol ("": any).

    A symbol is the exchange's own; with `canonical` also ours. Returns the content of the symbols file.

    Raises:
        UnknownNameError: one of them is unknown.
        RegistryError: the symbols file cannot be used.
    """
    registry = SymbolRegistry.load(settings.symbols_file)
    registered = registry.content.exchanges
    codes = {*settings.exchanges, *registered}
    if exchange and exchange not in codes:
        raise UnknownNameError(
            f"No exchange {exchange!r}{near(exchange, codes)}: use one of {', '.join(sorted(codes))}."
        )
    markets = {code: registered[code] for code in registered if exchange in {"", code}}
    own = {name for one in markets.values() for name in own_names(one)}
    ours = {entry.canonical for one in markets.values() for entry in one.values()}
    if not symbol or symbol in own or (canonical and symbol in ours):
        return registry
    where = f"of {exchange} " if exchange else ""
    if symbol in ours:
        spelled = sorted({name for one in markets.values() for name, entry in one.items() if entry.canonical == symbol})
        raise UnknownNameError(f"{symbol} is our name: give the exchange's own, {' or '.join(spelled)}.")
    raise UnknownNameError(
        f"No symbol {symbol!r} {where}in {settings.symbols_file}{near(symbol, own | ours if canonical else own)}."
        " `medallion symbols build` brings the file up to date."
    )
