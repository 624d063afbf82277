"""The closed set of trade kinds, and which of them candles count."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class TradeKind(StrEnum):
    """Why a trade exists. Values never change, because they are stored."""

    MARKET = "market"
    RPI = "rpi"
    LIQUIDATION = "liquidation"
    AUCTION = "auction"
    BLOCK = "block"
    INSURANCE_FUND = "insurance_fund"
    ADL = "adl"


@dataclass(frozen=True, slots=True)
class KindMeaning:
    """The meaning of a kind, and whether Gold counts its trades. Gold counts trades in the order book."""

    meaning: str
    is_counted: bool


KINDS: dict[TradeKind, KindMeaning] = {
    TradeKind.MARKET: KindMeaning("an ordinary match in the order book", is_counted=True),
    TradeKind.RPI: KindMeaning(
        "a match with an order that only some takers may meet (retail price improvement, OKX's ELP)", is_counted=True
    ),
    TradeKind.LIQUIDATION: KindMeaning("a liquidation that was matched in the order book", is_counted=True),
    TradeKind.AUCTION: KindMeaning("a match of an auction of the order book", is_counted=True),
    TradeKind.BLOCK: KindMeaning("negotiated beside the order book", is_counted=False),
    TradeKind.INSURANCE_FUND: KindMeaning(
        "taken over by the exchange's insurance fund, beside the order book", is_counted=False
    ),
    TradeKind.ADL: KindMeaning("auto-deleveraging between two positions, beside the order book", is_counted=False),
}
# Far more than exchanges sum up. A garbled number must not make many later trades look known.
MOST_MATCHES = 1_000_000
COUNTED = tuple(kind.value for kind, meaning in KINDS.items() if meaning.is_counted)


def documentation() -> str:
    """The content of `docs/kinds.md`: one table row for each kind."""
    rows = [
        f"| `{kind}` | {meaning.meaning} | {'yes' if meaning.is_counted else 'no'} |" for kind, meaning in KINDS.items()
    ]
    head = [
        "# Kinds of trade",
        "",
        "Written by `python -m schemas`. Silver's `trade_kind` has one of these; candles count those that say so.",
        "Which words of an exchange stand for which kind: `docs/producers.md`.",
        "",
        "| kind | meaning | in candles |",
        "|---|---|---|",
    ]
    return "\n".join([*head, *rows, ""])
