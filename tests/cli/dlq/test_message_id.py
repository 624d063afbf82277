"""Invariant: the id that `dlq list` prints names the very message, and what is no id is refused."""

from __future__ import annotations

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from cli.dlq.message_id import message_id, parse_message

TOPICS = st.from_regex(r"[a-zA-Z0-9._-]{1,249}", fullmatch=True)


@given(TOPICS, st.integers(0, 10**6), st.integers(0, 10**17))
def test_an_id_leads_back_to_its_message(topic: str, partition: int, offset: int) -> None:
    row = {"raw_topic": topic, "raw_partition": partition, "raw_offset": offset}
    assert parse_message([message_id(row)]) == (topic, partition, offset)
    assert parse_message([topic, str(partition), str(offset)]) == (topic, partition, offset)


@pytest.mark.parametrize(
    "words",
    [
        ["topic"],
        ["topic", "0"],
        ["topic[0]"],
        ["topic@3"],
        ["topic[0]@x"],
        ["topic", "0", "-1"],
        ["topic[-1]@3"],
        ["a", "0", "1", "2"],
    ],
)
def test_what_is_no_id_is_refused_with_an_example(words: list[str]) -> None:
    with pytest.raises(typer.BadParameter, match=r"'market\.crypto\.trades\.binance\.raw\[0\]@42'"):
        parse_message(words)


def test_no_argument_names_no_message() -> None:
    assert parse_message([]) is None
