"""A Kafka timestamp fits every layer, and is the same wherever it is bounded."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st

from schemas.kafka_time import bounded_ms

ANY = st.integers(-(2**63), 2**63 - 1)
END_MS = int(datetime(2200, 1, 1, tzinfo=UTC).timestamp() * 1000)


@given(ANY)
@example(-(2**63))
@example(2**63 - 1)
@example(-1)
def test_any_number_becomes_a_time_and_stays_one(timestamp: int) -> None:
    bounded = bounded_ms(timestamp)
    assert 0 <= bounded < END_MS
    assert bounded_ms(bounded) == bounded
    assert datetime.fromtimestamp(bounded / 1000, UTC).year < 2200


@given(st.integers(0, END_MS - 1))
def test_what_fits_is_left_alone(timestamp: int) -> None:
    assert bounded_ms(timestamp) == timestamp


@given(st.datetimes(datetime(2000, 1, 1), datetime(2199, 12, 31)))  # noqa: DTZ001 - UTC below
def test_another_unit_is_the_same_moment(moment: datetime) -> None:
    ms = int(moment.replace(tzinfo=UTC).timestamp()) * 1000
    assert bounded_ms(ms * 1_000) == bounded_ms(ms * 1_000_000) == ms


def test_no_timestamp_is_the_epoch() -> None:
    assert bounded_ms(-1) == 0
