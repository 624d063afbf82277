"""Makes registry entries from ccxt's market lists (`medallion symbols build`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import ccxt
import yaml
from pydantic import ValidationError

from config.errors import MedallionError
from config.registry import ACTIVE, HALTED, Defaults, Entry, SymbolRegistry, SymbolsFile
from config.symbols.markets import Markets
from config.valid_times import END_MS

# By exchange code: ccxt's class, and the market types of the code's stream.
SOURCES: Mapping[str, tuple[str, frozenset[str]]] = {
    "binance": ("binance", frozenset({"spot"})),
    "binance_usdm": ("binanceusdm", frozenset({"swap", "future"})),
    "binance_coinm": ("binancecoinm", frozenset({"swap", "future"})),
    "kraken": ("kraken", frozenset({"spot"})),
    "bybit": ("bybit", frozenset({"spot"})),
    "bybit_linear": ("bybit", frozenset({"swap", "future"})),
    "okx": ("okx", frozenset({"spot", "swap", "future"})),
    "coinbase": ("coinbase", frozenset({"spot"})),
}
_ALL_TYPES = frozenset({"spot", "swap", "future"})
# Exchanges whose stream uses ccxt's `symbol`: ccxt's `id` is that of another interface (Kraken: REST `XXBTZUSD`, v2
# `BTC/USD`).
_NAMED_BY_SYMBOL = frozenset({"kraken"})
# 2009-01-03: no market is older than Bitcoin. A list may have markets that begin later than now.
_FIRST_MS = 1_230_940_800_000
# Two listed markets that agree in these are one market.
_SAME = ("id", "symbol", "baseId", "quoteId", "type")


class UnknownSourceError(MedallionError):
    """The name is neither an exchange code of ours nor a ccxt exchange."""


def source(exchange: str) -> tuple[str, frozenset[str]]:
    """The ccxt class of an exchange code, and the market types of its stream.

    Raises:
        UnknownSourceError: ccxt does not have the exchange.
    """
    if exchange in SOURCES:
        return SOURCES[exchange]
    if exchange in ccxt.exchanges:
        return exchange, _ALL_TYPES
    message = f"no ccxt source for {exchange!r}: choose one of {', '.join(SOURCES)}, or a name that ccxt knows"
    raise UnknownSourceError(message)


def _belongs(exchange: str, market: Mapping[str, Any]) -> bool:
    if not market.get("type"):
        raise ValueError("it is no market with a type")
    if exchange == "bybit_linear" and not market.get("linear"):
        return False
    return market.get("type") in source(exchange)[1]


def _suffix(market: Mapping[str, Any], beside_spot: bool) -> str:
    if market["type"] == "future":
        # ccxt: BTC/USD:BTC-240927
        return "-" + str(market["symbol"]).rsplit("-", 1)[-1]
    return "-SWAP" if market["type"] == "swap" and beside_spot else ""


def _settled(market: Mapping[str, Any]) -> str:
    settle = str(market.get("settle") or market["quote"]).upper()
    return "" if settle in (str(market["quote"]).upper(), str(market["base"]).upper()) else f"-{settle}"


def _kind(market: Mapping[str, Any]) -> str:
    if market["type"] == "spot":
        return "spot"
    settle = market.get("settle") or market["quote"]
    kind = "linear" if settle == market["quote"] else "inverse" if settle == market["base"] else "quanto"
    return kind if market["type"] == "swap" else f"{kind}_future"


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A market that cannot become an entry: its name in the exchange's own spelling, and the reason."""

    symbol: str
    why: str


@dataclass(frozen=True, slots=True)
class Listed:
    """Registry entries by exchange symbol, and the markets that were left out."""

    entries: dict[str, Entry]
    left_out: list[LeftOut]


def markets_to_symbols(
    exchange: str, markets: Mapping[str, Mapping[str, Any]] | Markets, *, halted: bool = False
) -> Listed:
    """Make registry entries from ccxt's market structures. A market that cannot become one is reported as left out.

    The canonical symbol is base + quote. A perpetual of a code that has spot, too, ends in `-SWAP`, a dated contract in
    `-YYMMDD`. `-<settle asset>` follows if that is neither base nor quote. Limits are the market's largest order if it
    is above the default. Markets that are not traded are skipped; with `halted` they become halted entries. If markets
    share a name or a canonical symbol, all of them are left out, because their trades could not be told apart.

    Raises:
        UnknownSourceError: the exchange code has no ccxt source.
    """
    name, types = source(exchange)
    steps = getattr(ccxt, name)().precisionMode
    rows = markets.values() if isinstance(markets, Mapping) else markets
    by_symbol = exchange in _NAMED_BY_SYMBOL or exchange not in SOURCES
    found: dict[str, list[tuple[Mapping[str, Any], Entry]]] = {}
    left_out: list[LeftOut] = []
    for market in sorted(rows, key=lambda market: str(market.get("symbol"))):
        symbol = market.get("symbol" if by_symbol else "id")
        try:
            active = market.get("active") is not False
            if not _belongs(exchange, market) or not (active or halted):
                continue
            entry = _entry(market, steps, beside_spot="spot" in types, active=active)
            SymbolsFile.model_validate({"version": 1, "exchanges": {exchange: {symbol: entry}}})
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
            left_out.append(LeftOut(str(symbol or market.get("symbol")), _why(error)))
            continue
        same = found.setdefault(str(symbol), [])
        if not any(all(market.get(name) == other.get(name) for name in _SAME) for other, _ in same):
            same.append((market, entry))
    return _without_collisions(found, left_out)


def _entry(market: Mapping[str, Any], steps: int, *, beside_spot: bool, active: bool) -> Entry:
    base, quote = str(market["base"] or "").upper(), str(market["quote"] or "").upper()
    return Entry.model_validate(
        {
            "canonical": base + quote + _suffix(market, beside_spot) + _settled(market),
            "base": base,
            "quote": quote,
            **_limits(market),
            "kind": _kind(market),
            **_described(market, steps),
            "listed_on": _listed_on(market),
            "status": ACTIVE if active else HALTED,
        }
    )


def _why(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(dict.fromkeys(str(fault["msg"]).removeprefix("Value error, ") for fault in error.errors()))
    return f"{type(error).__name__}: {str(error)!a}"


def _without_collisions(
    found: Mapping[str, Sequence[tuple[Mapping[str, Any], Entry]]], left_out: list[LeftOut]
) -> Listed:
    """The entries without markets that share an exchange symbol or a canonical symbol."""
    names: dict[str, list[str]] = {}
    for symbol, same in found.items():
        if len(same) == 1:
            names.setdefault(same[0][1].canonical, []).append(symbol)
            continue
        assets = " and ".join(f"{market['id']!r} of {market.get('baseId')!r}" for market, _ in same)
        why = f"is listed {len(same)} times, {assets}: perhaps two assets with one ticker, which cannot be told apart"
        left_out.append(LeftOut(symbol, why))
    entries: dict[str, Entry] = {}
    for canonical, symbols in names.items():
        if len(symbols) == 1:
            entries[symbols[0]] = found[symbols[0]][0][1]
            continue
        why = f"{' and '.join(map(repr, symbols))} would both be {canonical!r}: their trades would mix"
        left_out += [LeftOut(symbol, why) for symbol in symbols]
    return Listed({symbol: entries[symbol] for symbol in found if symbol in entries}, left_out)


def _number(value: Any) -> Decimal | None:
    """A positive number from a float or a text of ccxt; None for anything else. Some lists have 0 for no limit."""
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() and number > 0 else None


def _listed_on(market: Mapping[str, Any]) -> date | None:
    """The day of ccxt's `created` (ms); None if the list does not have it, or has an impossible time."""
    created = market.get("created")
    if not isinstance(created, int) or not _FIRST_MS <= created < END_MS:
        return None
    return datetime.fromtimestamp(created / 1e3, UTC).date()


def _limit(market: Mapping[str, Any], of: str, end: str) -> Decimal | None:
    return _number(((market.get("limits") or {}).get(of) or {}).get(end))


def _limits(market: Mapping[str, Any]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for field, of, default in (
        ("price_max", "price", Defaults().price_max),
        ("quantity_max", "amount", Defaults().quantity_max),
    ):
        maximum = _limit(market, of, "max")
        if maximum is not None and maximum > default:
            found[field] = maximum
    return found


def _described(market: Mapping[str, Any], steps: int) -> dict[str, Decimal]:
    precision = market.get("precision") or {}
    found = {
        "tick": _step(precision.get("price"), steps),
        "lot": _step(precision.get("amount"), steps),
        "quantity_min": _limit(market, "amount", "min"),
        "notional_min": _limit(market, "cost", "min"),
    }
    return {field: value for field, value in found.items() if value is not None}


def _step(precision: Any, steps: int) -> Decimal | None:
    """The smallest step, given as such or as a number of decimals; None for a number of significant digits."""
    if precision is None or steps not in {ccxt.TICK_SIZE, ccxt.DECIMAL_PLACES}:
        return None
    if steps == ccxt.DECIMAL_PLACES:
        return Decimal(1).scaleb(-int(Decimal(str(precision))))
    return _number(precision)


def render(document: Mapping[str, Any] | SymbolsFile) -> str:
    """The symbols document as YAML. `SymbolRegistry.load` reads the same document from it."""
    content = document if isinstance(document, SymbolsFile) else SymbolRegistry.of(document).content
    plain = content.model_dump(mode="json", exclude_defaults=True)
    return yaml.safe_dump(
        {"version": content.version, **plain},
        allow_unicode=True,
        sort_keys=False,
        default_flow_style=None,
        width=1_000,
    )
