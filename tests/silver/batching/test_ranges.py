"""Plans of inserts: nothing skipped, nothing merged beyond the limit, an insert in doubt repeated as it was."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from silver_processor.batching.ranges import MAX_INSERT_ROWS, OffsetRange, WaitingMessage, next_range

ROWS = st.lists(st.integers(0, 70_000), min_size=1, max_size=40)


def waiting(rows: list[int], first: int = 5) -> list[WaitingMessage]:
    return [WaitingMessage(first + 2 * place, 1_700_000_000_000 + place, count) for place, count in enumerate(rows)]


@given(ROWS, st.integers(1, 3_000_000))
def test_ranges_follow_each_other_and_keep_within_the_limit(rows: list[int], merge_rows: int) -> None:
    left = waiting(rows)
    while left:
        planned = next_range(left, None, merge_rows)
        assert planned is not None
        part = [message for message in left if message.offset <= planned.last]
        assert (planned.first, planned.last) == (part[0].offset, part[-1].offset)
        total = sum(message.rows for message in part)
        assert len(part) == 1 or total <= min(merge_rows, MAX_INSERT_ROWS)
        left = left[len(part) :]
        if left:
            assert total + left[0].rows > min(merge_rows, MAX_INSERT_ROWS), "as many as fit"


@given(ROWS, st.data(), st.integers(1, 200_000))
def test_an_insert_in_doubt_is_repeated_with_its_boundaries_once_all_messages_are_here(
    rows: list[int], data: st.DataObject, merge_rows: int
) -> None:
    messages = waiting(rows)
    last = data.draw(st.integers(0, len(messages) - 1))
    here = data.draw(st.integers(1, len(messages)))
    recorded = OffsetRange(messages[0].offset, messages[last].offset, messages[0].published_ms)
    assert next_range(messages[:here], recorded, merge_rows) == (recorded if here > last else None)


def test_a_record_of_another_place_or_another_life_of_the_broker_is_ignored() -> None:
    messages = waiting([10, 10])
    fresh = next_range(messages, None, 100)
    for recorded in (OffsetRange(4, 9, messages[0].published_ms), OffsetRange(5, 900, 1)):
        assert next_range(messages, recorded, 100) == fresh


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.integers(0, 2**45))
def test_a_record_reads_back(first: int, last: int, published: int) -> None:
    planned = OffsetRange(first, last, published)
    assert OffsetRange.parse(str(planned)) == planned
    assert (
        planned.token("market.crypto.trades.bronze", 3) == f"market.crypto.trades.bronze:3:{first}-{last}:{published}"
    )


def test_no_messages_and_no_record() -> None:
    assert next_range([], None, 10) is None
    assert OffsetRange.parse("") is None
    assert OffsetRange.parse("1-2") is None
