"""Invariant: two texts that differ look different in a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cli.common.console import shown
from cli.common.context import print_table


def test_a_symbol_with_a_blank_at_an_end_is_told_from_the_one_without(capsys: pytest.CaptureFixture[str]) -> None:
    print_table("Dead letters", ("symbol",), [("BTCUSDT",), ("BTCUSDT ",), (" BTCUSDT",), ("BTC\u00a0",), ("  ",)])
    lines = [line.rstrip("\n").strip() for line in capsys.readouterr().out.splitlines()]
    assert lines[4:9] == ["BTCUSDT", "BTCUSDT␣", "␣BTCUSDT", "BTC\\xa0", "␣␣"]


@given(st.text(st.sampled_from("AB \t\u00a0\u3000")), st.text(st.sampled_from("AB \t\u00a0\u3000")))
def test_different_texts_stay_different_and_have_no_blank_at_an_end(one: str, other: str) -> None:
    assert (shown(one) == shown(other)) == (one == other)
    assert shown(one).strip() == shown(one)
