"""A day's cold Bronze and Silver read once: which trade ids must be judged, and what else that takes to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from offload.difference.checksums import IdChecksums
from offload.difference.day import BronzePart, SilverPart, RederivedDay
from offload.difference.hot_records import KafkaTimes
from offload.difference.in_parallel import in_parallel
from silver_processor.core.refine import refine


@dataclass
class FirstPass:
    """What was met: so many rows of Silver that are judged and messages, their Kafka times, and the symbols
    (canonical) that have trades of several matches.
    """

    silver_rows: int = 0
    messages: int = 0
    published: KafkaTimes = field(default_factory=KafkaTimes)
    summed_symbols: set[str] = field(default_factory=set)

    def _note(self, rows: pl.DataFrame) -> None:
        """Take in which of valid rows sum up matches."""
        self.summed_symbols |= set(rows.filter(pl.col("match_count") > 1)["symbol"])

    def add(self, other: FirstPass) -> None:
        """Take in what was met elsewhere."""
        self.silver_rows += other.silver_rows
        self.messages += other.messages
        self.published.add(other.published)
        self.summed_symbols |= other.summed_symbols


def first_pass(day: RederivedDay, checksums: IdChecksums, silver: Sequence[SilverPart], bronze: Sequence[BronzePart]) -> FirstPass:
    """Refine all messages and weigh them against Silver's rows, of which `silver` has the columns `WEIGHED`."""
    found = FirstPass()
    reads = [
        *(partial(_pass_bronze, day, checksums, part) for part in bronze),
        *(partial(_pass_silver, day, checksums, part) for part in silver),
    ]
    for part_result in in_parallel(reads):
        found.add(part_result)
    return found


def _pass_bronze(day: RederivedDay, checksums: IdChecksums, part: BronzePart) -> FirstPass:
    found = FirstPass()
    for piece in part():
        found.messages += piece.num_rows
        found.published.add_rows(pl.DataFrame(piece.select(["published_at"])))
        refined = refine(piece, day.rules)
        valid = pl.DataFrame(refined.valid)
        found._note(valid)
        checksums.add_valid(valid)
        if refined.rejects.num_rows:
            checksums.add_rejects(pl.DataFrame(refined.rejects))
    return found


def _pass_silver(day: RederivedDay, checksums: IdChecksums, part: SilverPart) -> FirstPass:
    found = FirstPass()
    for piece in part():
        rows = day.compared(piece)
        found.silver_rows += rows.height
        found.published.add_rows(rows)
        found._note(rows)
        checksums.add_silver(rows)
    return found
