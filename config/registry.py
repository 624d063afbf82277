"""The symbol registry: which markets exist, their canonical names and their limits (`config/symbols.yaml`)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictStr, ValidationError, model_validator

from config.errors import MedallionError

#: What `SymbolRegistry.lookup` tells of a name.
LOOKUP = ("exchange", "exchange_symbol", "canonical", "base", "quote", "price_max", "quantity_max")


class RegistryError(MedallionError):
    """The symbols file cannot be used; the message names the file, the entry and what to change."""


# Letters and digits of any script and what exchanges put between them: nothing that hides, steers a terminal, is
# markup, or parts words. The fillers are letters to Unicode, and blank.
_NAME = re.compile(r"(?:(?![\u115f\u1160\u3164\uffa0])[\w.$+!@#/:-]){1,100}")
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
        message = f"the asset {text!r} has a character that parts assets in symbols (one of `/:-`)"
        raise ValueError(message)
    return text


Name = Annotated[StrictStr, AfterValidator(_name)]
Asset = Annotated[StrictStr, AfterValidator(_asset)]
Limit = Annotated[Decimal, Field(gt=0, allow_inf_nan=False)]
#: `linear` and `inverse` are perpetuals settled in quote and base, `quanto` in neither; `…_future` are dated.
Kind = Literal["spot", "linear", "inverse", "quanto", "linear_future", "inverse_future", "quanto_future"]
#: `halted`: listed, and not traded when the list was read. `delisted`: on the list no more.
Status = Literal["active", "halted", "delisted"]
ACTIVE: Status = "active"
HALTED: Status = "halted"
DELISTED: Status = "delisted"
# What trades are judged by; the other fields describe, and change no rules version.
_RULES = {"canonical", "base", "quote", "price_max", "quantity_max", "aliases"}


class Entry(BaseModel):
    """One market of one exchange code. A limit that is absent is the file's default.

    `canonical` is base + quote, upper case; a contract beside another market of the same pair carries a suffix
    (`BTCUSD-220527`, `UNIUSD-SWAP`). `aliases` are other names the exchange gives to the *same* market.

    `tick` and `lot` are the smallest steps of price (quote) and quantity, `quantity_min` and `notional_min` the
    smallest order in quantity and quote, all as the exchange's market list states them. A delisted market stays, with
    the (UTC) day on which the list was first seen without it: its trades are still judged, by the same rules. The
    names of a `pinned` entry are right where the market list says otherwise.
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
    delisted_on: date | None = None
    pinned: bool = False

    @model_validator(mode="after")
    def _canonical_is_the_pair(self) -> Entry:
        pair = self.base + self.quote
        if self.canonical != self.canonical.upper() or not self.canonical.startswith(pair):
            message = f"canonical {self.canonical!r} must be {pair.upper()!r}, or that with a suffix"
            raise ValueError(message)
        return self


class Defaults(BaseModel):
    """Inclusive maxima where an entry names none (docs/invariants.md); the minimum 0 is exclusive."""

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
    """Safe YAML; a key given twice is an error instead of the last one winning in silence."""

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
    """All known markets, looked up by (exchange code, exchange symbol)."""

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
        """The rules as YAML without comments, in a fixed order; `of` makes a registry of the same rules of it."""
        plain = self.content.model_dump(mode="json")
        for symbols in plain["exchanges"].values():
            for name, entry in symbols.items():
                symbols[name] = {field: value for field, value in entry.items() if field in _RULES}
        return yaml.safe_dump(plain, sort_keys=True, allow_unicode=True)

    @cached_property
    def rules_version(self) -> str:
        """`<version>-<hash>`: changes with any name or maximum, not with order, comments, layout or description."""
        return f"{self.version}-{hashlib.sha256(self.document.encode()).hexdigest()[:12]}"

    @property
    def exchanges(self) -> frozenset[str]:
        """The known exchange codes."""
        return frozenset(self.content.exchanges)

    @cached_property
    def lookup(self) -> list[dict[str, str]]:
        """One row an exchange symbol (aliases included), keys as `LOOKUP`; limits as exact decimal text.

        No Arrow: producers read the registry too, and Arrow would be two fifths of their memory.
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


def shown_name(part: int | str) -> str:
    """A name for a message; one that no name may be as an escape."""
    return str(part) if isinstance(part, int) or _NAME.fullmatch(part) else ascii(part)


def _refuse_collisions(exchange: str, symbols: dict[str, Entry]) -> None:
    canonical: dict[str, str] = {}
    names: dict[str, str] = {}
    for symbol, entry in symbols.items():
        other = canonical.setdefault(entry.canonical, symbol)
        if other != symbol:
            message = (
                f"exchanges.{exchange}: {other!r} and {symbol!r} both map to {entry.canonical!r}: "
                "their trades would mix; give the contract a suffix, or list a second name under `aliases`; of an"
                " asset that took over the ticker of a delisted one, give the older its own canonical name and base"
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
