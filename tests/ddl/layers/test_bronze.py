"""Bronze: one normaliser of times, defects by name, rows merge only when they are one trade."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.settings import Settings
from tests.ddl.engine import Engine
from tests.ddl.feed import bronze_rows, envelope, publish

FEW = settings().max_examples // 4
SLOW_ENGINE = settings(max_examples=FEW, deadline=None, suppress_health_check=list(HealthCheck))
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LAST = datetime(2199, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)

# From 1973-03-04 on: before, a number of ms has the magnitude of seconds.
moments = st.integers(100_000_000_000_000, 7_258_118_399_999_999).map(lambda us: EPOCH + timedelta(microseconds=us))
tails = st.text("0123456789", max_size=6)
zones = st.integers(-23 * 60 - 59, 23 * 60 + 59)


def micros(moment: datetime) -> int:
    return (moment - EPOCH) // timedelta(microseconds=1)


@st.composite
def notations(draw: st.DrawFn) -> tuple[str, int]:
    """A time as some exchange would write it, and the µs since the epoch that it means."""
    moment = draw(moments)
    exact = micros(moment)
    seconds, digits = exact // 1_000_000, f"{exact % 1_000_000:06d}"
    tail, kept = draw(tails), draw(st.integers(1, 6))
    written = {
        "s": (str(seconds), seconds * 1_000_000),
        "ms": (str(exact // 1000), exact // 1000 * 1000),
        "µs": (str(exact), exact),
        "ns": (f"{exact}{draw(st.integers(0, 999)):03d}", exact),
        "s, cut": (f"{seconds}.{digits[:kept]}", seconds * 1_000_000 + int(digits[:kept].ljust(6, "0"))),
        "s, longer": (f"{seconds}.{digits}{tail}", exact),
        "ms.f": (f"{exact // 1000}.{digits[3:]}{tail}", exact),
        "µs.f": (f"{exact}.{tail}5", exact),
        "ns.f": (f"{exact}999.{tail}5", exact),
        "ISO-8601": (_iso(draw, moment, digits), exact),
    }
    return written[draw(st.sampled_from(sorted(written)))]


def _iso(draw: st.DrawFn, moment: datetime, digits: str) -> str:
    minutes = draw(zones)
    local = moment.astimezone(timezone(timedelta(minutes=minutes)))
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    suffixes = [f"{sign}{hours:02d}:{rest:02d}", f"{sign}{hours:02d}{rest:02d}"]
    if minutes == 0:
        suffixes += ["", "Z", "z", "+00"]
    between = draw(st.sampled_from("Tt "))
    return (
        f"{local.year:04d}-{local:%m-%d}{between}{local:%H:%M:%S}{draw(st.sampled_from('.,'))}{digits}{draw(tails)}"
        + draw(st.sampled_from(suffixes))
    )


@SLOW_ENGINE
@given(times=st.lists(notations(), min_size=1, max_size=60))
def test_every_notation_means_its_moment(engine: Engine, warehouse: Settings, times: list[tuple[str, int]]) -> None:
    partition = publish(engine, warehouse, [envelope(timestamp=t, trade_id=str(n)) for n, (t, _) in enumerate(times)])
    rows = bronze_rows(engine, warehouse, partition)
    assert rows["defect"].unique().to_list() == [b""]
    assert rows["timestamp"].to_list() == [exact for _, exact in times]


EDGES = [
    ("1", 1_000_000),
    ("0.000001", 1),
    ("0001723161600123", 1_723_161_600_123_000),
    ("7258118399.9999999", micros(LAST)),
    ("1970-01-01T00:00:00.000001Z", 1),
    ("2024-02-29T23:59:59.9999999Z", micros(datetime(2024, 2, 29, 23, 59, 59, 999_999, tzinfo=UTC))),
    ("1723161600." + "1" * 60, 1_723_161_600_111_111),
    ("2024-08-09T00:00:00." + "1" * 60 + "Z", micros(datetime(2024, 8, 9, 0, 0, 0, 111_111, tzinfo=UTC))),
    ("2024-08-09T00:00:00", micros(datetime(2024, 8, 9, tzinfo=UTC))),
    ("2024-08-09 05:30:00+0530", micros(datetime(2024, 8, 9, tzinfo=UTC))),
]


def test_times_at_the_edges(engine: Engine, warehouse: Settings) -> None:
    found = made(engine, warehouse, [envelope(timestamp=text) for text, _ in EDGES])
    assert [(row["defect"], row["timestamp"]) for row in found] == [(b"", exact) for _, exact in EDGES]


NO_TIMES = [
    "0", "-1", "-1723161600", "+1723161600", " 1723161600", "1723161600 ", "1723161600.", ".5", "1e9", "inf",
    "1,723,161,600", "0x66b5", "7258118400", "99999999999", "9" * 19, "9" * 20, "9" * 31, "9" * 200, "1e31",
    "١٧٢٣١٦١٦٠٠", "1723161600\n", "1723161600\x00", "null", "true", "2024-08-09", "2024-08-09T00:00",
    "2024-13-01T00:00:00Z", "2024-00-10T00:00:00Z", "2023-02-29T00:00:00Z", "2024-02-30T00:00:00Z",
    "2024-04-31T00:00:00Z", "2024-08-09T24:00:00Z", "2024-08-09T23:60:00Z", "2024-08-09T23:59:60Z",
    "2024-08-09T00:00:00+24:00", "2024-08-09T00:00:00+01:60", "2024-08-09T00:00:00.Z", "2024-08-09T00:00:00ZZ",
    "0000-00-00T00:00:00Z", "1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "1970-01-01T00:30:00+01:00",
    "2200-01-01T00:00:00Z", "2199-12-31T23:59:59-00:01", "2299-01-01T00:00:00Z", "2300-01-01T00:00:00Z",
    "9999-12-31T23:59:59Z", "2024-08-09T00:00:00Zebra", "Fri, 09 Aug 2024 00:00:00 GMT", "🕛",
]  # fmt: skip


def test_what_is_no_time_is_named_and_lands_on_its_arrival(engine: Engine, warehouse: Settings) -> None:
    found = made(engine, warehouse, [envelope(timestamp=text) for text in NO_TIMES])
    for text, row in zip(NO_TIMES, found, strict=True):
        assert row["defect"] == b"timestamp_invalid", text
        assert row["timestamp"] == row["ingested_at"], text
        assert row["timestamp_raw"] == text.encode()


@SLOW_ENGINE
@given(
    texts=st.lists(
        st.text(st.characters(codec="utf-8"), max_size=30) | st.text("0123456789-:.TZ+ ", max_size=30), min_size=1
    )
)
def test_any_text_is_a_moment_in_range_or_a_defect(engine: Engine, warehouse: Settings, texts: list[str]) -> None:
    partition = publish(engine, warehouse, [envelope(timestamp=t, trade_id=str(n)) for n, t in enumerate(texts)])
    rows = bronze_rows(engine, warehouse, partition).to_dicts()
    assert len(rows) == len(texts)
    for text, row in zip(texts, rows, strict=True):
        if row["defect"]:
            assert row["defect"] == (b"timestamp_invalid" if text else b"timestamp_missing")
            assert row["timestamp"] == row["ingested_at"]
        else:
            assert 0 < row["timestamp"] <= micros(LAST)
            assert text[0].isascii()
            assert text[0].isdigit()


NO_TRADE = {"symbol": "", "trade_id": "", "price": "", "quantity": "", "timestamp": "", "side": ""}


DEFECTS = [
    (b"", "malformed_envelope"),
    (b"not json", "malformed_envelope"),
    (b"[]", "malformed_envelope"),
    (b'["binance","BTCUSDT","1","1","1","1723161600","BUY"]', "malformed_envelope"),
    (b'"text"', "malformed_envelope"),
    (b"\xff\x00", "malformed_envelope"),
    (envelope()[:-1], "malformed_envelope"),
    (envelope() + b"x", "malformed_envelope"),
    (b" " * 2_000_000, "malformed_envelope"),
    (envelope(payload="x" * 1_048_576), "message_too_large"),
    (b" " * 1_048_576 + envelope(), "message_too_large"),
    (envelope(**NO_TRADE, payload="x" * 1_048_576), "message_too_large"),
    (envelope(trade_id="7" * 257), "message_too_large"),
    (envelope(symbol="é" * 129), "message_too_large"),
    (envelope(trade_id="7" * 256), ""),
    (b"{}", "unrecognised_message"),
    (b'{"hello":"world"}', "unrecognised_message"),
    (envelope(**NO_TRADE, payload=""), "empty_message"),
    (envelope(**NO_TRADE, payload=" \t\r\n"), "empty_message"),
    (b'{"exchange":"binance","payload":null}', "empty_message"),
    (envelope(**NO_TRADE, payload="oops"), "malformed_payload"),
    (envelope(**NO_TRADE, payload='{"e":'), "malformed_payload"),
    (
        envelope(**NO_TRADE, payload=base64.b64encode(b"\xff").decode(), payload_encoding="base64"),
        "malformed_payload",
    ),
    (envelope(**NO_TRADE, payload="1234", payload_encoding="base64"), "malformed_payload"),
    (envelope(**NO_TRADE, payload='{"e":"depth"}'), "unrecognised_message"),
    (envelope(**NO_TRADE, payload="[1,2]"), "unrecognised_message"),
    (b'{"exchange":"binance","payload":{"e":"depth"}}', "unrecognised_message"),
    (envelope(timestamp=""), "timestamp_missing"),
    (envelope(timestamp="soon"), "timestamp_invalid"),
    (envelope(price="", payload=""), ""),
    (envelope(price="NaN", quantity="1e400", side="?"), ""),
    (envelope(), ""),
    (b'{"price":1.50}', "timestamp_missing"),
    (b'{"price":1e400,"timestamp":1723161600}', ""),
]


def test_defects(engine: Engine, warehouse: Settings) -> None:
    found = made(engine, warehouse, [message for message, _ in DEFECTS])
    for (message, defect), row in zip(DEFECTS, found, strict=True):
        assert row["defect"] == defect.encode(), f"{message[:30]!r}…{len(message)}"


def test_a_field_too_long_is_cut_to_whole_characters(engine: Engine, warehouse: Settings) -> None:
    row = only_bronze_row(engine, warehouse, envelope(symbol="é" * 1000))
    assert row["symbol"].decode() == "é" * 64
    assert row["price_text"] == b"60000.10"


NUMBERS: list[tuple[str, float | None]] = [
    ("60000.10", 60000.1),
    ("0.00000024", 2.4e-7),
    ("-1", -1.0),
    ("1e400", None),
    ("NaN", None),
    ("", None),
    ("x", None),
]


def test_numbers_are_kept_as_text_and_shown_as_floats(engine: Engine, warehouse: Settings) -> None:
    found = made(engine, warehouse, [envelope(price=text, quantity=text) for text, _ in NUMBERS])
    for (text, number), row in zip(NUMBERS, found, strict=True):
        assert (row["price_text"], row["quantity_text"]) == (text.encode(), text.encode())
        assert (row["price"], row["quantity"]) == (number, number), text


def test_rows_merge_only_when_they_are_one_trade(engine: Engine, warehouse: Settings) -> None:
    trades = [
        envelope(trade_id="m1"),
        envelope(trade_id="m1"),
        envelope(trade_id="m1", price="abc"),
        envelope(trade_id="m1", timestamp="soon"),
        envelope(trade_id="m1", timestamp="soon"),
        envelope(**NO_TRADE, payload=""),
        envelope(**NO_TRADE, payload=""),
        b"\xff",
        b"\xff",
    ]
    partition = publish(engine, warehouse, trades)
    table = f"{warehouse.clickhouse_database}.bronze_trades"
    engine.execute(f"OPTIMIZE TABLE {table} FINAL")
    merged = engine.execute(
        f"SELECT price_text, defect, count() FROM {table} WHERE raw_partition = {partition} GROUP BY ALL ORDER BY ALL"
    )
    assert merged == [
        ["", "empty_message", 2],
        ["", "malformed_envelope", 2],
        ["60000.10", "", 1],
        ["60000.10", "timestamp_invalid", 2],
        ["abc", "", 1],
    ]


def made(engine: Engine, warehouse: Settings, messages: list[bytes]) -> list[dict[str, Any]]:
    """The Bronze rows of one block of messages, in their order."""
    return bronze_rows(engine, warehouse, publish(engine, warehouse, messages)).to_dicts()


def only_bronze_row(engine: Engine, warehouse: Settings, message: bytes) -> dict[str, Any]:
    (row,) = made(engine, warehouse, [message])
    return row
