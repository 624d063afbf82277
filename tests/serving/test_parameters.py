"""A request is read as Binance reads it: known parameters once, in range, or Binance's own error code."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.valid_times import END_MS
from serving.errors import ApiError
from serving.parameters import RequestParameters

KNOWN = frozenset({"symbol", "symbols", "interval", "limit", "startTime", "endTime"})
NAMES = frozenset({"BTCUSDT", "ETHUSDT"})


def code_of(*sent: tuple[str, str], read: str = "") -> int:
    """The error code that these parameters are answered with; 0 where they are fine."""
    try:
        parameters = RequestParameters(sent, KNOWN)
        {
            "symbol": lambda: parameters.symbol(NAMES),
            "symbols": lambda: parameters.symbols(NAMES),
            "interval": parameters.interval,
            "limit": lambda: parameters.limit(500, 1000),
            "times": parameters.times,
            "": lambda: None,
        }[read]()
    except ApiError as error:
        return error.code
    return 0


@pytest.mark.parametrize(
    ("sent", "read", "code"),
    [
        ([], "symbol", -1102),
        ([("symbol", "")], "symbol", -1105),
        ([("symbol", "BTCUSDT"), ("symbol", "BTCUSDT")], "symbol", -1101),
        ([("symbol", "BTCUSDT"), ("depth", "5")], "symbol", -1104),
        ([("symbol", "btcusdt")], "symbol", -1100),
        ([("symbol", "BTC'; DROP TABLE x")], "symbol", -1100),
        ([("symbol", "BTCUSDT\n")], "symbol", -1100),
        ([("symbol", "NOSUCH")], "symbol", -1121),
        ([], "interval", -1102),
        ([("interval", "1s")], "interval", -1120),
        ([("interval", "1D")], "interval", -1120),
        ([("limit", "ten")], "limit", -1100),
        ([("limit", "-1")], "limit", -1100),
        ([("limit", "\u0661")], "limit", -1100),
        ([("limit", "0")], "limit", -1130),
        ([("startTime", "5"), ("endTime", "4")], "times", -1128),
        ([("startTime", "1e3")], "times", -1100),
        ([("symbols", "BTCUSDT")], "symbols", -1100),
        ([("symbols", '["BTCUSDT","nope"]')], "symbols", -1100),
        ([("symbols", '["NOPE"]')], "symbols", -1121),
        ([("symbols", '["BTCUSDT"]'), ("symbol", "BTCUSDT")], "symbols", -1128),
    ],
)
def test_what_is_wrong_has_binances_code(sent: list[tuple[str, str]], read: str, code: int) -> None:
    assert code_of(*sent, read=read) == code


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        *(("0", 0), ("8", 480), ("-1:00", -60), ("05:45", 345), ("-0:30", -30), ("14:00", 840), ("-12", -720)),
        *((wrong, None) for wrong in ("14:01", "-12:01", "8:5", "8:60", "UTC", "008", "1e1", "--1", "\u0668")),
    ],
)
def test_a_time_zone_is_hours_and_minutes(text: str, minutes: int | None) -> None:
    parameters = RequestParameters([("timeZone", text)], frozenset({"timeZone"}))
    if minutes is None:
        with pytest.raises(ApiError, match="timeZone"):
            parameters.zone()
    else:
        assert parameters.zone() == minutes * 60


def test_what_is_right_is_read() -> None:
    sent = [("symbols", '["BTCUSDT", "ETHUSDT"]'), ("limit", "5000"), ("startTime", "0"), ("interval", "1M")]
    parameters = RequestParameters(sent, KNOWN)
    assert parameters.symbols(NAMES) == ("BTCUSDT", "ETHUSDT")
    assert parameters.limit(500, 1000) == 1000
    assert parameters.times() == (0, None)
    in_micros = RequestParameters([("startTime", "1732960800000001"), ("endTime", "1732960800002999")], KNOWN)
    assert in_micros.times_us() == (1732960800000001, 1732960800002999)
    assert in_micros.times() == (1732960800001, 1732960800002)
    in_millis = RequestParameters([("startTime", "1732960800001"), ("endTime", "1732960800001")], KNOWN)
    assert in_millis.times_us() == (1732960800001000, 1732960800001999)
    # A far future in ms, as clients write "no end", is no time of 1970 in µs.
    assert RequestParameters([("endTime", "9999999999999")], KNOWN).times() == (None, END_MS)
    assert parameters.interval().code == "1M"


@given(st.lists(st.tuples(st.sampled_from(sorted(KNOWN)), st.text(max_size=40)), max_size=6))
def test_no_text_is_anything_but_read_or_refused(sent: list[tuple[str, str]]) -> None:
    for read in ("symbol", "symbols", "interval", "limit", "times"):
        assert code_of(*sent, read=read) <= 0
