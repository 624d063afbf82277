"""The markets of the symbol registry, which is read again when its file changes."""

from __future__ import annotations

from pathlib import Path

from config.registry import DELISTED, Entry, SymbolRegistry

_PERPETUAL = frozenset({"linear", "inverse", "quanto"})
# Exchange codes that have contracts only.
_CONTRACTS = frozenset({"binance_usdm", "binance_coinm", "bybit_linear"})


class Markets:
    """The registry's markets by exchange code and canonical symbol."""

    def __init__(self, path: Path) -> None:
        """Raises:
        RegistryError: the file cannot be used.
        """
        self._path = path
        self._read_at = path.stat().st_mtime_ns
        self._read(path)

    def refresh(self) -> None:
        """Read the file again if it has changed.

        Raises:
            RegistryError: the new file cannot be used; the markets of the old one stay.
            OSError: there is no file.
        """
        changed_at = self._path.stat().st_mtime_ns
        if changed_at != self._read_at:
            self._read_at = changed_at
            self._read(self._path)

    def _read(self, path: Path) -> None:
        registry = SymbolRegistry.load(path)
        self._by_exchange, self._spellings = _by_exchange(registry), _spellings(registry)
        self._own_names = {
            exchange: {entry.canonical: name for name, entry in entries.items()}
            for exchange, entries in registry.content.exchanges.items()
        }

    @property
    def exchanges(self) -> tuple[str, ...]:
        """The exchange codes."""
        return tuple(self._by_exchange)

    def names(self, exchange: str) -> frozenset[str]:
        """Canonical symbols of an exchange; empty for an unknown exchange."""
        return frozenset(self._by_exchange.get(exchange, {}))

    def entry(self, exchange: str, symbol: str) -> Entry:
        """A market by its canonical symbol.

        Raises:
            KeyError: there is none.
        """
        return self._by_exchange[exchange][symbol]

    def exchange_symbol(self, exchange: str, symbol: str) -> str:
        """The exchange's own name of a market, by its canonical symbol.

        Raises:
            KeyError: there is none.
        """
        return self._own_names[exchange][symbol]

    def is_perpetual(self, exchange: str, symbol: str) -> bool:
        """Whether a market is a perpetual, which has funding.

        For an entry without `kind`, the canonical symbol decides. `medallion symbols build` gives a suffix to a dated
        contract, and to a perpetual of an exchange code that also has spot markets.

        Raises:
            KeyError: there is no such market.
        """
        kind = self.entry(exchange, symbol).kind
        if kind is not None:
            return kind in _PERPETUAL
        return symbol.endswith("-SWAP") or (exchange in _CONTRACTS and "-" not in symbol)

    def spellings(self, exchange: str, name: str) -> frozenset[str]:
        """The exchange's own symbols of a market. `name`: any of its names, in any case. Empty: no such market."""
        return self._spellings.get(exchange, {}).get(name.upper(), frozenset())

    def listed(self, exchange: str) -> list[Entry]:
        """The markets of an exchange that are not delisted, by symbol."""
        return [entry for entry in self._by_exchange.get(exchange, {}).values() if entry.status != DELISTED]


def _by_exchange(registry: SymbolRegistry) -> dict[str, dict[str, Entry]]:
    return {
        exchange: {entry.canonical: entry for entry in sorted(entries.values(), key=lambda entry: entry.canonical)}
        for exchange, entries in sorted(registry.content.exchanges.items())
    }


def _spellings(registry: SymbolRegistry) -> dict[str, dict[str, frozenset[str]]]:
    by_exchange: dict[str, dict[str, frozenset[str]]] = {}
    for exchange, entries in registry.content.exchanges.items():
        names = by_exchange.setdefault(exchange, {})
        for symbol, entry in entries.items():
            spellings = frozenset({symbol, *entry.aliases})
            for name in (entry.canonical, *spellings):
                names[name.upper()] = names.get(name.upper(), frozenset()) | spellings
    return by_exchange
