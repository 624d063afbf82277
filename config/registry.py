"""The symbol registry: the markets, their canonical symbols and their limits (`config/symbols.yaml`)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, ValidationError, model_validator

from config.errors import MedallionError


class RegistryError(MedallionError):
    """The symbols file cannot be used; the message names the file, the entry and what to change."""


# Letters and digits of any script, and the marks that exchanges use. So a name cannot hide, steer a terminal, be markup
# or contain blanks. The excluded Hangul fillers look blank, although Unicode calls them letters.
_NAME = re.compile(r"(?:(?![\u115f\u1160\u3164\uffa0])[\w.$+!@#/:-]){1,100}")
_LIMIT_DIGITS = 1_000
_BETWEEN_ASSETS = frozenset("/:-")


def _name(text: str) -> str:
    if _NAME.fullmatch(text) is None:
        message = (
            f"the name {text[:100]!a} is not one of 1 to 100 letters, digits and `.$+!@#/:-_`: no blank, hidden,"
            " control or markup character may be in it"
        )
        raise ValueError(message)
    return text


def _asset(text: str) -> str:
    if not _BETWEEN_ASSETS.isdisjoint(_name(text)):
        message = f"the asset {text!r} has a character that separates assets in symbols (one of `/:-`)"
        raise ValueError(message)
    return text


def _limit(number: Decimal) -> Decimal:
    # Rules keep and print every digit: 1e999999999 would be a gigabyte.
    exponent = number.as_tuple().exponent
    if number.adjusted() >= _LIMIT_DIGITS or (isinstance(exponent, int) and exponent < -_LIMIT_DIGITS):
        message = f"{number} has more than {_LIMIT_DIGITS:,} digits before or after the point: give a shorter number"
        raise ValueError(message)
    return number


Name = Annotated[StrictStr, AfterValidator(_name)]
Asset = Annotated[StrictStr, AfterValidator(_asset)]
Limit = Annotated[Decimal, Field(gt=0, allow_inf_nan=False), AfterValidator(_limit)]
# Perpetuals settled in the quote (`linear`), the base (`inverse`) or another asset (`quanto`); `…_future` are dated.
Kind = Literal["spot", "linear", "inverse", "quanto", "linear_future", "inverse_future", "quanto_future"]
# `halted`: on the list, but not traded when it was read. `delisted`: no longer on the list.
Status = Literal["active", "halted", "delisted"]
ACTIVE: Status = "active"
HALTED: Status = "halted"
DELISTED: Status = "delisted"
# The fields that rules use. The others only describe a market, and do not change the rules version.
_RULES = {"canonical", "base", "quote", "price_max", "quantity_max", "aliases"}


class Entry(BaseModel):
    """One market of one exchange code.

    Attributes:
        canonical: base + quote in upper case. A contract beside another market of the pair has a suffix
            (`BTCUSD-220527`, `UNIUSD-SWAP`).
        price_max: largest price; None for the file's default.
        quantity_max: largest quantity; None for the file's default.
        aliases: other names that the exchange gives to the *same* market.
        tick: smallest step of the price, in quote currency, from the exchange's list. So are the next three.
        lot: smallest step of the quantity.
        quantity_min: smallest order, in base currency.
        notional_min: smallest order, in quote currency.
        status: a delisted market stays in the file, and its trades are validated by the same rules.
        listed_on: the day (UTC) on which trading began, as far as the exchange's list says.
        halted_on: the first day (UTC) on which the list said that the market is halted; None while it is not.
        delisted_on: the first day (UTC) on which the list did not have the market.
        pinned: the names in this file are right, even if the exchange's list has others.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    canonical: Name
    base: Asset
    quote: Asset
    price_max: Limit | None = None
    quantity_max: Limit | None = None
    aliases: tuple[Name, ...] = ()
    kind: Kind | None = None
    tick: Limit | None = None
    lot: Limit | None = None
    quantity_min: Limit | None = None
    notional_min: Limit | None = None
    status: Status = ACTIVE
    listed_on: date | None = None
    halted_on: date | None = None
    delisted_on: date | None = None
    pinned: bool = False

    @model_validator(mode="after")
    def _canonical_is_the_pair(self) -> Entry:
        pair = self.base + self.quote
        if self.canonical != self.canonical.upper() or not self.canonical.startswith(pair):
            message = f"canonical {self.canonical!r} must be {pair.upper()!r}, perhaps with a suffix"
            raise ValueError(message)
        return self


class Defaults(BaseModel):
    """Largest values (inclusive) of entries that name none (docs/invariants.md). The minimum is 0, exclusive."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    price_max: Limit = Decimal(1_000_000)
    quantity_max: Limit = Decimal(100_000)


class SymbolsFile(BaseModel):
    """The content of a symbols file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Annotated[int, Field(ge=1, strict=True)]
    defaults: Defaults = Defaults()
    exchanges: dict[Annotated[StrictStr, Field(pattern=r"^[a-z0-9_]+$")], dict[Name, Entry]]


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """Loads safe YAML. A repeated key is an error; by default the last one would win."""

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        if len(mapping) != len(node.value):
            keys = [self.construct_object(key, deep=True) for key, _ in node.value]
            twice = next(key for key in keys if keys.count(key) > 1)
            message = f"key {twice!r} is given twice"
            raise yaml.constructor.ConstructorError(None, None, message, node.start_mark)
        return mapping


@dataclass(frozen=True, eq=False)
class SymbolRegistry:
    """All known markets, by exchange code and exchange symbol."""

    content: SymbolsFile

    @classmethod
    def load(cls, path: Path) -> SymbolRegistry:
        """Read and check a symbols file.

        Raises:
            RegistryError: the file is missing, not YAML, breaks the format, or maps two markets of one exchange
                code to one canonical symbol.
        """
        try:
            document = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)  # noqa: S506
        except OSError as error:
            message = f"{path}: {error.strerror}: set MEDALLION_SYMBOLS_FILE to a readable symbols file"
            raise RegistryError(message) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            message = f"{path}: not a valid YAML file: {error}"
            raise RegistryError(message) from error
        try:
            return cls.of(document)
        except RegistryError as error:
            message = f"{path}: {error}"
            raise RegistryError(message) from error

    @classmethod
    def of(cls, document: object) -> SymbolRegistry:
        """The registry of a parsed document.

        Raises:
            RegistryError: as in `load`; the message names each faulty entry.
        """
        try:
            registry = cls(SymbolsFile.model_validate(document))
        except ValidationError as error:
            faults = (
                f"{'.'.join(shown_name(part) for part in fault['loc'] if part != '[key]')}: {fault['msg']}"
                for fault in error.errors()
            )
            raise RegistryError("; ".join(faults)) from error
        for exchange, symbols in registry.content.exchanges.items():
            _refuse_collisions(exchange, symbols)
        return registry

    @property
    def version(self) -> int:
        """The file's own version number."""
        return self.content.version

    @cached_property
    def document(self) -> str:
        """The rules as YAML without comments, in a fixed order. `of` makes the same rules from it."""
        plain = self.content.model_dump(mode="json")
        for symbols in plain["exchanges"].values():
            for name, entry in symbols.items():
                symbols[name] = {field: value for field, value in entry.items() if field in _RULES}
        return yaml.safe_dump(plain, sort_keys=True, allow_unicode=True)

    @cached_property
    def rules_version(self) -> str:
        """`<version>-<hash>`. Names and maxima change it; order, comments, layout and descriptions do not."""
        return f"{self.version}-{hashlib.sha256(self.document.encode()).hexdigest()[:12]}"

    @property
    def exchanges(self) -> frozenset[str]:
        """The known exchange codes."""
        return frozenset(self.content.exchanges)

    @cached_property
    def lookup(self) -> list[dict[str, str]]:
        """One row for each exchange symbol and alias, limits as exact decimal text.

        Not an Arrow table: producers read the registry, too, and Arrow would be two fifths of their memory.
        """
        defaults = self.content.defaults
        return [
            {
                "exchange": exchange,
                "exchange_symbol": name,
                "canonical": entry.canonical,
                "base": entry.base,
                "quote": entry.quote,
                "price_max": str(entry.price_max or defaults.price_max),
                "quantity_max": str(entry.quantity_max or defaults.quantity_max),
            }
            for exchange, symbols in self.content.exchanges.items()
            for symbol, entry in symbols.items()
            for name in (symbol, *entry.aliases)
        ]


def own_names(markets: Mapping[str, Entry]) -> set[str]:
    """The names that an exchange itself has for its markets."""
    return {name for symbol, entry in markets.items() for name in (symbol, *entry.aliases)}


def shown_name(part: int | str) -> str:
    """A name for a message. An invalid one is shown as an escape."""
    return str(part) if isinstance(part, int) or _NAME.fullmatch(part) else ascii(part)


def _refuse_collisions(exchange: str, symbols: dict[str, Entry]) -> None:
    canonical: dict[str, str] = {}
    names: dict[str, str] = {}
    for symbol, entry in symbols.items():
        other = canonical.setdefault(entry.canonical, symbol)
        if other != symbol:
            message = (
                f"exchanges.{exchange}: {other!r} and {symbol!r} both map to {entry.canonical!r}: "
                "their trades would mix; give the contract a suffix, or list a second name under `aliases`; if another"
                " asset took over the ticker of a delisted one, give the older a canonical name and base of its own"
            )
            raise RegistryError(message)
        for name in (symbol, *entry.aliases):
            if not name.strip():
                message = f"exchanges.{exchange}: {entry.canonical!r} has an empty exchange symbol"
                raise RegistryError(message)
            owner = names.setdefault(name, symbol)
            if owner != symbol or (symbol, *entry.aliases).count(name) > 1:
                message = f"exchanges.{exchange}: the name {name!r} is given twice ({owner!r} and {symbol!r})"
                raise RegistryError(message)
