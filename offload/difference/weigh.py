"""A day's cold Bronze and Silver read once: which trade ids must be judged, and what else that takes to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from offload.difference.balance import Balance
from offload.difference.day import BronzePart, SilverPart, Work
from offload.difference.known import Span
from offload.difference.side_by_side import side_by_side
from silver_processor.core.refine import refine


@dataclass
class Weighed:
    """What was met: so many rows of Silver that are judged and messages, their Kafka times, and the symbols
    (canonical) that have trades of several matches.
    """

    silver_rows: int = 0
    messages: int = 0
    published: Span = field(default_factory=Span)
    summed: set[str] = field(default_factory=set)

    def note(self, rows: pl.DataFrame) -> None:
        """Take in which of valid rows sum up matches."""
        self.summed |= set(rows.filter(pl.col("match_count") > 1)["symbol"])

    def add(self, other: Weighed) -> None:
        """Take in what was met elsewhere."""
        self.silver_rows += other.silver_rows
        self.messages += other.messages
        self.published.join(other.published)
        self.summed |= other.summed


def weigh(work: Work, balance: Balance, silver: Sequence[SilverPart], bronze: Sequence[BronzePart]) -> Weighed:
    """Refine all messages and weigh them against Silver's rows, of which `silver` has the columns `WEIGHED`."""
    found = Weighed()
    sides = [
        *(partial(_weigh_bronze, work, balance, part) for part in bronze),
        *(partial(_weigh_silver, work, balance, part) for part in silver),
    ]
    for met in side_by_side(sides):
        found.add(met)
    return found


def _weigh_bronze(work: Work, balance: Balance, part: BronzePart) -> Weighed:
    found = Weighed()
    for piece in part():
        found.messages += piece.num_rows
        found.published.widen(pl.DataFrame(piece.select(["published_at"])))
        refined = refine(piece, work.rules)
        valid = pl.DataFrame(refined.valid)
        found.note(valid)
        balance.add_valid(valid)
        if refined.rejects.num_rows:
            balance.add_rejects(pl.DataFrame(refined.rejects))
    return found


def _weigh_silver(work: Work, balance: Balance, part: SilverPart) -> Weighed:
    found = Weighed()
    for piece in part():
        rows = work.judged(piece)
        found.silver_rows += rows.height
        found.published.widen(rows)
        found.note(rows)
        balance.add_silver(rows)
    return found
