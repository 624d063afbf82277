"""Invariant: a table shows every digit of every cell and every header at any width, and no line is longer than that."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.cells import cell_len

from cli.common.console import SafeConsole, cell
from cli.dlq.dead_letter import Panels, ShownDeadLetter

TEXTS = st.text(st.characters(categories=("L", "N", "P", "S"), include_characters=" "), max_size=120)
TIMES = st.datetimes(datetime.fromisoformat("1970-01-01"), datetime.fromisoformat("2199-12-31"), timezones=st.just(UTC))
NUMBERS = (
    st.integers(-(10**30), 10**30)
    | st.decimals(-(10**20), 10**20, places=18)
    | st.floats(allow_nan=False, allow_infinity=False, min_value=-1e15, max_value=1e15)
)
CELLS = NUMBERS | TEXTS | TIMES | st.booleans() | st.none()
HEADERS = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=12).map("".join)


@st.composite
def tables(draw: st.DrawFn) -> tuple[list[str], list[list[object]]]:
    """Headers of letters only, so that every digit printed is a cell's; columns of one kind or mixed."""
    headers = draw(st.lists(st.lists(HEADERS, min_size=1, max_size=3).map(" ".join), min_size=1, max_size=10))
    kinds = [draw(st.sampled_from((NUMBERS, TEXTS, TIMES, CELLS))) for _ in headers]
    rows = draw(st.lists(st.tuples(*kinds).map(list), min_size=1, max_size=5))
    return headers, rows


def printed(width: int, headers: Sequence[str], rows: Sequence[Sequence[object]], title: str = "Title") -> list[str]:
    """The lines on a terminal of so many columns."""
    console = SafeConsole(width=width)
    console.file = drawn = io.StringIO()
    console.print_table(title, headers, rows)
    return drawn.getvalue().splitlines()


def written(value: object) -> str:
    """What a cell must show, less the separators: written here without the product."""
    if isinstance(value, bool) or value is None:
        return ""
    if isinstance(value, float):
        return format(Decimal(str(value)), "f")
    if isinstance(value, Decimal):
        return format(value, "f")
    return value.replace(tzinfo=None).isoformat(" ") if isinstance(value, datetime) else str(value)


def digits(text: str) -> Counter[str]:
    return Counter(character for character in text if character.isdigit())


def in_all(rows: Sequence[Sequence[object]], lines: Sequence[str]) -> Counter[str]:
    """The digits that must be printed: a column that is said to be the same in every row is printed once."""
    said_once = any("The same in every row:" in line for line in lines)
    found: Counter[str] = Counter()
    for column in zip(*rows, strict=True):
        once = said_once and len({cell(value) for value in column}) == 1
        for value in column[:1] if once else column:
            found += digits(written(value))
    return found


@given(st.integers(20, 200), tables())
@example(20, (["price"], [["1" * 200]]))
@example(40, (["a", "b"], [["1", "7" * 60], ["2", "y"]]))
@example(40, (["a", "b"], [["0.000000123456789012", "x" * 60], ["12345678901234567890", "y"]]))
def test_every_digit_is_there(width: int, table: tuple[list[str], list[list[object]]]) -> None:
    headers, rows = table
    lines = printed(width, headers, rows)
    assert digits("".join(lines)) == in_all(rows, lines)
    assert max(map(cell_len, lines)) <= width


@given(st.integers(20, 200), tables())
def test_a_number_is_never_broken_where_it_fits(width: int, table: tuple[list[str], list[list[object]]]) -> None:
    headers, rows = table
    lines = printed(width, headers, rows)
    shown = {word for line in lines for word in line.split()}
    for value in (value for row in rows for value in row):
        if isinstance(value, int | float | Decimal) and len(cell(value)) <= min(width - 4, 40):
            assert cell(value) in shown


@given(st.integers(20, 200), tables())
def test_every_word_of_every_header_is_there(width: int, table: tuple[list[str], list[list[object]]]) -> None:
    headers, rows = table
    words = [word for line in printed(width, headers, rows) for word in line.split()]
    assert Counter(word for header in headers for word in header.split()) <= Counter(words)


@given(st.integers(20, 250), st.integers(0, 10**9), st.text("0123456789", min_size=1, max_size=90))
def test_a_dead_letter_shows_every_digit(width: int, size: int, value: str) -> None:
    dead_letter = ShownDeadLetter(
        coordinates={"raw_topic": "raw", "raw_partition": 0, "raw_offset": value, "published_at": "2026-01-05"},
        rule={"reason": "price_above_limit", "field": "price", "value": value, "limit": "1000000"},
        raw={"message": f'{{"p":"{value}"}}', "bytes": size, "source": "trades_raw"},
        bronze={"price_text": value, "source": "bronze_trades"},
        held={},
        resolution={},
    )
    console = SafeConsole(width=width)
    console.file = drawn = io.StringIO()
    console.print(Panels(dead_letter))
    shown = [f"0{value}20260105", f"{size}", value, value, value, "1000000"]
    assert digits(drawn.getvalue()) == digits("".join(shown))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1234567, "1,234,567"),
        (-1000, "-1,000"),
        (Decimal("61837.630"), "61,837.630"),
        (Decimal("0.000000240000"), "0.000000240000"),
        (Decimal("1E+6"), "1,000,000"),
        (Decimal("NaN"), "NaN"),
        (12345.5, "12,345.5"),
        (1e-7, "0.0000001"),
        (True, "yes"),
        (None, ""),
        ("1234567", "1234567"),
        ("BTCUSDT ", "BTCUSDT␣"),
        (datetime(2026, 1, 5, 10, 1, 2, tzinfo=UTC), "2026-01-05 10:01:02"),
        (datetime(2026, 1, 5, 10, 1, 2, 30, tzinfo=UTC), "2026-01-05 10:01:02.000030"),
    ],
)
def test_a_cell_has_its_separators_and_all_its_digits(value: object, text: str) -> None:
    assert cell(value) == text


def test_a_wide_table_stands_and_a_narrow_one_is_wrapped_or_laid_down() -> None:
    headers, rows = ["market", "what went wrong"], [["BTCUSDT", "the price is above the limit"], ["ETHUSDT", "none"]]
    assert any("BTCUSDT" in line and "above the limit" in line for line in printed(80, headers, rows))
    wrapped = printed(36, headers, rows)
    assert any("BTCUSDT" in line and "the price" in line and "limit" not in line for line in wrapped)
    same = printed(24, headers, [["BTCUSDT", "price_above_limit"], ["BTCUSDT", "price_missing"]])
    assert [line.strip() for line in same if line.strip()][1:4] == ["The same in every row:", "market", "BTCUSDT"]
    laid_down = printed(20, headers, [["BTCUSDT", "price_above_limit"]])
    assert [line.strip() for line in laid_down if line.strip()][1:] == [
        *("market", "BTCUSDT", "what went wrong", "price_above_limi", "t")
    ]
