"""Invariant: over REST every time of a window is asked for once, unless its day is complete or it was done before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from producers.backfill.checkpoint import DONE, BackfillCheckpoint, read_steps
from producers.backfill.done import filled
from producers.backfill.windows import SymbolWindow, left_of

START = datetime(2026, 3, 1, tzinfo=UTC)
BEGUN = {"total": 3, "window": [1, 3], "left": [[2, 3]], "since_us": 0, "unreachable": None, "is_over": True}
READ_TOO_EARLY = {"is_over": False}


def hours(first: int, last: int) -> SymbolWindow:
    return SymbolWindow("kraken", "BTC/USD", START + timedelta(hours=first), START + timedelta(hours=last))


def covered(windows: list[SymbolWindow]) -> list[int]:
    """The hours of the windows since `START`, in order."""
    found = []
    for one in windows:
        first, last = ((moment - START) // timedelta(hours=1) for moment in (one.start, one.end))
        found += range(first, last)
    return sorted(found)


@given(
    st.tuples(st.integers(0, 40), st.integers(1, 60)),
    st.sets(st.integers(0, 4)),
    st.lists(
        st.tuples(st.integers(0, 99), st.integers(1, 30), st.sampled_from([DONE, BEGUN, READ_TOO_EARLY])), max_size=3
    ),
)
def test_what_is_left_of_a_window(
    shape: tuple[int, int], days: set[int], earlier: list[tuple[int, int, dict[str, object]]]
) -> None:
    whole = hours(shape[0], shape[0] + shape[1])
    # Windows of earlier runs do not overlap.
    windows, at = [], 0
    for skip, length, step in earlier:
        windows.append((hours(at + skip % 24, at + skip % 24 + length), step))
        at += skip % 24 + length
    with TemporaryDirectory() as folder, BackfillCheckpoint(Path(folder) / "checkpoint", "w") as checkpoint:
        for one, step in windows:
            checkpoint.put(one.name, step)
        checkpoint.put("rest kraken/ETH/USD 2026-03-01T00:00:00+00:00 2026-03-02T00:00:00+00:00", DONE)
        parts = left_of(whole, {(START + timedelta(days=day)).date() for day in days}, checkpoint)
    if any(one == whole and step is not READ_TOO_EARLY for one, step in windows):
        assert parts == [whole], "it goes on as it was, or is skipped as done"
        return
    within = [(one, step) for one, step in windows if whole.start <= one.start and one.end <= whole.end]
    done = {hour for one, step in within if step is DONE for hour in covered([one])}
    begun = [one for one, step in within if step is BEGUN]
    wanted = {hour for hour in covered([whole]) if hour // 24 not in days} - done
    assert covered(parts) == sorted(wanted | {*covered(begun)})
    assert all(one in parts for one in begun), "its pages that are done are not asked for again"
    assert all(before.end <= after.start for before, after in pairwise(parts))


def test_a_checkpoint_is_read_while_a_back_fill_writes_to_it(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    assert read_steps(path, "w") == {}
    with BackfillCheckpoint(path, "w") as checkpoint:
        checkpoint.put("dump binance/BTCUSDT/2026-03-01", {**DONE, "sha256": "", "rows": 4, "ends": [7, 9, 0, 0]})
        checkpoint.put("failure dump binance/BTCUSDT/2026-03-01", {"error": "an earlier run", "at_us": 1})
        checkpoint.put("failure dump binance/BTCUSDT/2026-03-02 5 6", {"error": "cut off", "at_us": 1})
        checkpoint.put(hours(0, 24).name, BEGUN)
        checkpoint.put("gap binance/BTCUSDT 5 6 7", {"state": "open"})
        with path.open("ab") as file:
            file.write(b'{"name": "rest kraken/BTC/USD 2026')
        size = path.stat().st_size
        spans = filled(read_steps(path, "w"))
        assert filled(read_steps(path, "another")) == []
        assert path.stat().st_size == size, "the line is still being written"
    found = [(one.exchange, one.symbol, one.source, one.is_done, one.first_id, one.last_id, one.left) for one in spans]
    assert sorted(found, key=str) == [
        ("binance", "BTCUSDT", "dump", False, None, None, 0),
        ("binance", "BTCUSDT", "dump", True, 7, 9, 0),
        ("kraken", "BTC/USD", "rest", False, 1, 3, 2),
    ]
    assert [(one.failure, one.start_us, one.end_us) for one in spans if one.failure] == [("cut off", 5, 6)]
