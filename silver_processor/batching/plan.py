"""Which Bronze messages make one insert, and its token: pure, so that a retry plans the same."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

# One insert must stay one block: the server commits larger inserts in pieces of 1,048,449 rows.
MOST_ROWS = 1_000_000
_RECORDED = re.compile(r"([0-9]+)-([0-9]+):([0-9]+)")


@dataclass(frozen=True, slots=True)
class Waiting:
    """A Bronze message that waits: its offset, Kafka timestamp (ms since the epoch) and number of rows."""

    offset: int
    published_ms: int
    rows: int


@dataclass(frozen=True, slots=True)
class Range:
    """The messages of one insert: first and last offset (inclusive), and the first one's Kafka timestamp in ms.

    The timestamp tells apart two lives of a broker that forgets its offsets.
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
    def parse(cls, text: str) -> Range | None:
        """The range that `str` wrote, or None: nothing was recorded."""
        found = _RECORDED.fullmatch(text)
        return cls(*(int(group) for group in found.groups())) if found else None


def next_range(waiting: Sequence[Waiting], recorded: Range | None, merge_rows: int) -> Range | None:
    """The next insert of a partition's waiting messages (ascending offsets), or None: wait for more.

    `recorded` is the range that was recorded before an insert whose outcome nobody knows. If it starts with the first
    waiting message it is planned again unchanged, as soon as all its messages are here: only the same token over
    the same messages lets the server complete what was left half done. Otherwise as many messages as keep the insert
    within `merge_rows` rows, one at least.
    """
    if not waiting:
        return None
    head = waiting[0]
    if recorded is not None and (recorded.first, recorded.first_published_ms) == (head.offset, head.published_ms):
        return recorded if waiting[-1].offset >= recorded.last else None
    last, rows = head, head.rows
    for message in waiting[1:]:
        rows += message.rows
        if rows > min(merge_rows, MOST_ROWS):
            break
        last = message
    return Range(head.offset, last.offset, head.published_ms)
