"""Updates a symbols document from the exchanges' market lists. No I/O."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from config.registry import ACTIVE, DELISTED, HALTED, Entry, RegistryError, SymbolRegistry, SymbolsFile
from config.symbols.build import markets_to_symbols
from config.symbols.markets import Markets

NEW, CHANGED, LEFT_OUT = "new", "changed", "left out"
# A list that lacks more than this share of an exchange's markets, and at least this number, is refused.
_MOST_GONE, _FEW_GONE = 0.5, 10
_KEPT = ("canonical", "base", "quote", "aliases", "pinned")


@dataclass(frozen=True, slots=True)
class MarketChange:
    """The change of one market.

    Attributes:
        what: new, changed, delisted, halted or left out.
        fields: changed fields, each with its old and its new value.
        why: the reason why a market is left out. The file keeps its old entry, if it has one.
    """

    exchange: str
    symbol: str
    canonical: str
    what: str
    fields: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    why: str = ""


def update(
    before: SymbolsFile, lists: Mapping[str, Markets], today: date, *, many_delisted: bool = False
) -> tuple[SymbolsFile, list[MarketChange]]:
    """Update the document from the `lists` (by exchange code). Returns the new document and the changes.

    Names (canonical, base, quote, aliases) never change. Maxima only grow. A market that is no longer listed becomes
    delisted on `today` (UTC). Exchanges without a list stay unchanged.

    Raises:
        UnknownSourceError: an exchange code has no ccxt source.
        RegistryError: a new market has the name of one in the file, a ticker seems to stand for another asset than
            before, or too many markets are gone (allowed by `many_delisted`). The message names each.
    """
    exchanges = dict(before.exchanges)
    changes: list[MarketChange] = []
    faults: list[str] = []
    for exchange, markets in lists.items():
        on_list = markets_to_symbols(exchange, markets, halted=True)
        known = exchanges.get(exchange, {})
        faults += _reused(exchange, known, on_list.entries)
        left_out = {market.symbol: market.why for market in on_list.left_out}
        merged, merge_changes = _merge(exchange, known, on_list.entries, left_out.keys(), today)
        changes += [MarketChange(exchange, symbol, "", LEFT_OUT, why=why) for symbol, why in left_out.items()]
        gone = sum(change.what == DELISTED for change in merge_changes)
        trading = sum(entry.status != DELISTED for entry in known.values())
        if gone >= _FEW_GONE and gone > trading * _MOST_GONE and not many_delisted:
            faults.append(
                f"exchanges.{exchange}: the list lacks {gone} of {trading} markets; if that is right, "
                "give --many-delisted"
            )
        exchanges[exchange] = merged
        changes += merge_changes
    if faults:
        raise RegistryError("; ".join(faults))
    after = before.model_copy(update={"exchanges": exchanges})
    # Check the whole document: a new market may have the canonical symbol of an older one.
    return SymbolRegistry.of(after.model_dump()).content, changes


def _reused(exchange: str, known: Mapping[str, Entry], listed: Mapping[str, Entry]) -> list[str]:
    """Faults of tickers that may now stand for another asset."""
    faults = []
    for symbol, now in listed.items():
        then = known.get(symbol)
        if then is None or then.pinned:
            continue
        if then.status == DELISTED and now.status == ACTIVE:
            faults.append(
                f"exchanges.{exchange}: {symbol!r}, delisted on {then.delisted_on}, is listed again: if it is the same"
                " asset, remove `status` and `delisted_on` from its entry; if another one took over the ticker, remove"
                " the entry, or give it the new asset's names and `pinned: true`"
            )
        elif (then.base, then.quote) != (now.base, now.quote):
            faults.append(
                f"exchanges.{exchange}: {symbol!r} is {then.base}/{then.quote} in the file and {now.base}/{now.quote}"
                " on the list: if the file is right, mark the entry `pinned: true`; if the ticker was given to another"
                " asset, remove the entry"
            )
    return faults


def _merge(
    exchange: str, known: Mapping[str, Entry], listed: Mapping[str, Entry], left_out: Collection[str], today: date
) -> tuple[dict[str, Entry], list[MarketChange]]:
    merged: dict[str, Entry] = {}
    changes: list[MarketChange] = []
    names = {name for entry in known.values() for name in entry.aliases}

    def note(symbol: str, entry: Entry, what: str, then: Entry | None = None) -> None:
        fields = _differences(then, entry) if then is not None else {}
        changes.append(MarketChange(exchange, symbol, entry.canonical, what, fields))

    for symbol, then in known.items():
        now = listed.get(symbol)
        if now is None and symbol in left_out:
            # It is listed, but cannot be read: keep the old entry.
            merged[symbol] = then
            continue
        if now is None:
            gone = {"status": DELISTED, "delisted_on": today}
            merged[symbol] = then if then.status == DELISTED else then.model_copy(update=gone)
            if then.status != DELISTED:
                note(symbol, merged[symbol], DELISTED, then)
            continue
        merged[symbol] = _updated(then, now, today)
        if merged[symbol] != then:
            what = HALTED if now.status == HALTED and then.status == ACTIVE else CHANGED
            note(symbol, merged[symbol], what, then)
    for symbol, now in listed.items():
        if symbol not in known and symbol not in names and now.status == ACTIVE:
            merged[symbol] = now
            note(symbol, now, NEW)
    return merged, changes


def _updated(then: Entry, now: Entry, today: date) -> Entry:
    kept: dict[str, Any] = {name: getattr(then, name) for name in _KEPT}
    if then.status == DELISTED and now.status == HALTED:
        kept |= {"status": DELISTED, "delisted_on": then.delisted_on, "halted_on": then.halted_on}
    elif now.status == HALTED:
        kept["halted_on"] = then.halted_on if then.status == HALTED else today
    for name in ("price_max", "quantity_max"):
        stated = [limit for limit in (getattr(then, name), getattr(now, name)) if limit is not None]
        kept[name] = max(stated, default=None)
    # Values that the list no longer has stay as they were.
    described = {name: getattr(then, name) for name in ("tick", "lot", "quantity_min", "notional_min", "listed_on")}
    missing = {name: value for name, value in described.items() if getattr(now, name) is None}
    return now.model_copy(update={**missing, **kept})


def _differences(then: Entry, now: Entry) -> dict[str, tuple[Any, Any]]:
    before, after = then.model_dump(mode="json"), now.model_dump(mode="json")
    return {name: (before[name], after[name]) for name in before if before[name] != after[name]}
