"""Chooses the Bronze messages of one insert, and its token. Pure, so that a repetition chooses the same messages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# The server splits an insert of more than 1,048,449 rows into blocks, and the token would protect only some of them.
MAX_INSERT_ROWS = 1_000_000
_RECORDED = re.compile(r"([0-9]+)-([0-9]+):([0-9]+)")


@dataclass(frozen=True, slots=True)
class WaitingMessage:
    """A Bronze message that waits for an insert: its offset, Kafka timestamp (ms since the epoch) and row count."""

    offset: int
    published_ms: int
    rows: int


@dataclass(frozen=True, slots=True)
class OffsetRange:
    """The messages of one insert: first and last offset (inclusive), and the first message's Kafka timestamp in ms.

    The timestamp distinguishes messages with the same offset, before and after a broker lost its data.
    """

    first: int
    last: int
    first_published_ms: int

    def token(self, topic: str, partition: int) -> str:
        """The insert's de-duplication token."""
        return f"{topic}:{partition}:{self}"

    def __str__(self) -> str:
        return f"{self.first}-{self.last}:{self.first_published_ms}"

    @classmethod
    def parse(cls, text: str) -> OffsetRange | None:
        """The range that `str` wrote; None for any other text."""
        numbers = _RECORDED.fullmatch(text)
        return cls(*(int(number) for number in numbers.groups())) if numbers else None


def next_range(waiting: Sequence[WaitingMessage], recorded: OffsetRange | None, merge_rows: int) -> OffsetRange | None:
    """The range of a partition's next insert; None: wait for more messages.

    `waiting`: in ascending order of offsets. `recorded`: the range of an earlier insert whose outcome is unknown. If it
    starts with the first waiting message, it is returned unchanged as soon as all its messages have arrived: the server
    completes a half-done insert only if the same token comes with the same messages. Otherwise the range has as many
    messages as fit into `merge_rows` rows, at least one.
    """
    if not waiting:
        return None
    first = waiting[0]
    if recorded is not None and (recorded.first, recorded.first_published_ms) == (first.offset, first.published_ms):
        return recorded if waiting[-1].offset >= recorded.last else None
    last, rows = first, first.rows
    for message in waiting[1:]:
        rows += message.rows
        if rows > min(merge_rows, MAX_INSERT_ROWS):
            break
        last = message
    return OffsetRange(first.offset, last.offset, first.published_ms)
