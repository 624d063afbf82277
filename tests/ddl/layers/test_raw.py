"""Raw: every message byte for byte, its fields digit for digit, and no message that stops the next."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from config.settings import Settings
from tests.ddl.engine import Engine
from tests.ddl.feed import FIELDS, TOPIC, envelope, publish, raw_rows

FEW = settings().max_examples // 4
SLOW_ENGINE = settings(max_examples=FEW, deadline=None, suppress_health_check=list(HealthCheck))
LAST_MICROS = 7_258_118_400_000_000

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
numbers = st.from_regex(r"\A-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,30})?([eE][-+]?[0-9]{1,4})?\Z").filter(str.isascii)
blanks = st.text(" \t\r\n", max_size=2)


class Token(str):
    """A JSON number, kept as it is written."""


def rendered(value: Any, blank: str, escape: bool) -> str:
    match value:
        case Token():
            return str(value)
        case dict():
            pairs = (f"{blank}{json.dumps(k)}{blank}:{blank}{rendered(v, blank, escape)}" for k, v in value.items())
            return "{" + ",".join(pairs) + blank + "}"
        case list():
            return "[" + ",".join(blank + rendered(item, blank, escape) for item in value) + "]"
        case _:
            return json.dumps(value, ensure_ascii=escape)


field_values = texts | numbers.map(Token) | st.none()
distractors = st.dictionaries(
    st.sampled_from(["n", "data", "x", "payload", "a.b"]),
    texts
    | st.sampled_from([":5,", '":1', '\\":2', "\\", '"price":3', "{", "}"])
    | numbers.map(Token)
    | st.booleans()
    | st.fixed_dictionaries({"price": numbers.map(Token), "symbol": texts})
    | st.lists(texts, max_size=2),
)


@st.composite
def json_envelopes(draw: st.DrawFn) -> tuple[bytes, dict[str, str]]:
    """A valid JSON object with any trade fields in any order, and the text each field must yield."""
    fields = draw(st.dictionaries(st.sampled_from(FIELDS), field_values))
    items = list((draw(distractors) | fields).items())
    shuffled = dict(draw(st.permutations(items)))
    text = draw(blanks) + rendered(shuffled, draw(blanks), draw(st.booleans())) + draw(blanks)
    return text.encode(), {name: "" if (v := fields.get(name)) is None else str(v) for name in FIELDS}


def yielded(row: dict[str, Any]) -> dict[str, str]:
    return {name: row["timestamp_raw" if name == "timestamp" else name].decode() for name in FIELDS}


@SLOW_ENGINE
@given(envelopes=st.lists(json_envelopes(), min_size=1, max_size=30))
def test_fields_are_the_senders_own_text(
    engine: Engine, warehouse: Settings, envelopes: list[tuple[bytes, dict[str, str]]]
) -> None:
    partition = publish(engine, warehouse, [message for message, _ in envelopes])
    rows = raw_rows(engine, warehouse, partition).to_dicts()
    assert [row["raw_json"] for row in rows] == [message for message, _ in envelopes]
    assert [yielded(row) for row in rows] == [fields for _, fields in envelopes]


@SLOW_ENGINE
@given(
    fields=st.lists(
        st.fixed_dictionaries({name: st.text(st.characters(codec="utf-8"), max_size=8) for name in FIELDS}), min_size=1
    )
)
def test_producer_envelopes_come_back_whole(engine: Engine, warehouse: Settings, fields: list[dict[str, str]]) -> None:
    partition = publish(engine, warehouse, [envelope(**each) for each in fields])
    assert [yielded(row) for row in raw_rows(engine, warehouse, partition).to_dicts()] == fields


broken = st.binary(max_size=40) | st.binary(max_size=20).map(lambda noise: envelope()[:-1] + noise + b"}")
near_misses = st.builds(
    lambda message, at, noise: message[: at % len(message)] + noise + message[at % len(message) + len(noise) :],
    st.sampled_from([envelope(), envelope(payload="\x01\x02"), b'{ "price" : 1.50 , "symbol":"A"}', b"[1,2]"]),
    st.integers(0, 1000),
    st.binary(min_size=1, max_size=3),
)


@SLOW_ENGINE
@given(messages=st.lists(broken | near_misses, min_size=1, max_size=30))
def test_any_bytes_are_kept_and_stop_nothing(engine: Engine, warehouse: Settings, messages: list[bytes]) -> None:
    partition = publish(engine, warehouse, [*messages, envelope(trade_id="after")])
    rows = raw_rows(engine, warehouse, partition)
    assert rows["raw_json"].to_list() == [*messages, envelope(trade_id="after")]
    assert rows["trade_id"][-1] == b"after"
    for message, row in zip(messages, rows.to_dicts(), strict=False):
        if not is_object(message):
            assert set(yielded(row).values()) == {""}, message


def is_object(message: bytes) -> bool:
    """Python's own reading of a message; stricter than JSON nowhere that matters to the test above."""
    try:
        return isinstance(json.loads(message.decode("utf-8")), dict)
    except (ValueError, RecursionError):
        return False


HOSTILE = [
    b"",
    b"\x00",
    b"null",
    b"{}",
    b'{"a":' * 100_000,
    b"[" * 2_000_000,
    b"\xff\xfe" * 100,
    b'{"price":\x01"1"\x02}',
    b'{"price":01.5}',
    b'{"price":1.5x}',
    b'{"price":1.5}{"price":1.5}',
    envelope(payload="x" * 10_000_000),
    b'{"payload":"' + b"\\u0041" * 1_700_000 + b'"}',
    b'{"payload":"' + b'\\"' * 5_000_000,
    b'{"p":' + b"9" * 5_000_000 + b"}",
]


def test_hostile_messages_pass(engine: Engine, warehouse: Settings) -> None:
    """Each between two others."""
    sent = [message for hostile in HOSTILE for message in (envelope(), hostile)] + [envelope()]
    rows = raw_rows(engine, warehouse, publish(engine, warehouse, sent))
    assert [row == message for row, message in zip(rows["raw_json"], sent, strict=True)] == [True] * len(sent)
    assert rows["price"][::2].to_list() == [b"60000.10"] * (len(HOSTILE) + 1)


NO_OBJECTS = [
    b'{"price":\x011\x02}',
    b'{"price":01.5}',
    b'{"price":1.5x}',
    b'{"price":.5}',
    b'{"price":+1}',
    b'{"price":1.5}{}',
    b'["binance","BTCUSDT","1","1.5"]',
    b'"price"',
    b'\xef\xbb\xbf{"price":1.5}',
    b'{"price":"\xff"}',
]


def test_what_is_no_json_object_has_no_fields(engine: Engine, warehouse: Settings) -> None:
    rows = raw_rows(engine, warehouse, publish(engine, warehouse, NO_OBJECTS)).to_dicts()
    for message, row in zip(NO_OBJECTS, rows, strict=True):
        assert set(yielded(row).values()) == {""}, message


def test_coordinates_and_times(engine: Engine, warehouse: Settings) -> None:
    received = [-1, 0, 1, 1_723_161_600_500_001, LAST_MICROS - 1, LAST_MICROS, 2**63, 10**30]
    partition = publish(engine, warehouse, [envelope(received_at=micros) for micros in received])
    rows = engine.frame(
        "SELECT _topic, _partition, _offset, toUnixTimestamp64Milli(published_at) AS published,"
        " toUnixTimestamp64Micro(received_at) AS received, abs(dateDiff('s', ingested_at, now64(6))) < 60 AS is_fresh"
        f" FROM {warehouse.clickhouse_database}.trades_raw WHERE _partition = {partition} ORDER BY _offset"
    )
    assert rows["_topic"].cast(pl.Binary).unique().to_list() == [TOPIC.encode()]
    assert rows["_offset"].to_list() == list(range(len(received)))
    assert rows["published"].unique().to_list() == [1_723_161_600_123]
    assert rows["received"].to_list() == [m if 0 < m < LAST_MICROS else 0 for m in received]
    assert rows["is_fresh"].unique().to_list() == [1]
