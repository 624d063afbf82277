"""What Silver holds of markets that are met for the first time: few questions for many markets, bounded reading."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from silver_processor.seen.by_market import Market
from silver_processor.seen.index import SeenTrades

# A query and its parameters → the answer, and the answer as it comes.
Select = Callable[[str, dict[str, Any]], pa.Table]
Blocks = Callable[[str, dict[str, Any]], Iterator[pa.Table]]

# Of each market, the newest: enough for what exchanges send again. Older rows are asked of Silver.
IDS_LOADED = 250_000
# No insert has this token.
NO_TOKEN = "-"  # noqa: S105
# A server takes a parameter of 128 KiB.
_MARKETS_A_QUERY = 1_000
# No trade is as old (µs).
_BEFORE_ALL = 0


def _sql(name: str) -> str:
    return Path(__file__).with_name("sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


_SEEN = _sql("seen")
_HORIZON = _sql("horizon")
_MOST_ROWS = _sql("most_rows")


def together(select: Select, markets: Sequence[Market]) -> Iterator[Sequence[Market]]:
    """The markets in parts to be loaded at once: of one market, or of so many that have few rows in all."""
    if len(markets) > _MARKETS_A_QUERY or (len(markets) > 1 and _most_rows(select, markets) > IDS_LOADED):
        half = len(markets) // 2
        yield from together(select, markets[:half])
        yield from together(select, markets[half:])
    elif markets:
        yield markets


def load(select: Select, blocks: Blocks, seen: SeenTrades, markets: Sequence[Market], but_token: str) -> None:
    """Tell the index what Silver holds of markets (a part of `together`), less the rows of the insert with that token
    ("": all count); of a market that is alone the newest `IDS_LOADED` rows."""
    horizon = None
    if len(markets) == 1:
        ((exchange, symbol),) = markets
        older = select(_HORIZON, {"exchange": exchange, "symbol": symbol, "most": IDS_LOADED})["horizon"].to_pylist()
        horizon = older[0] if older else None
    after = _BEFORE_ALL if horizon is None else horizon
    asked = {"markets": list(markets), "token": but_token or NO_TOKEN, "after": after}
    seen.load(markets, blocks(_SEEN, asked), horizon)


def _most_rows(select: Select, markets: Sequence[Market]) -> int:
    """As far as the table's primary index tells."""
    return sum(select(_MOST_ROWS, {"markets": list(markets)})["rows"].to_pylist())
