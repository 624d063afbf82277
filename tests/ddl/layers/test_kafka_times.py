"""SQL bounds Kafka times as Python does. What earlier versions stored unbounded is in test_upgrade.py."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from offload.clickhouse.templates import render as render_offload
from schemas.kafka_time import bounded_ms
from tests.ddl.engine import Engine

EDGES = [-(2**63), -1, 0, 7_258_118_399_999, 7_258_118_400_000, 1_795_860_000_000_000, 2**63 - 1]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
@example(EDGES)
@settings(max_examples=settings().max_examples // 4)
def test_sql_and_python_bound_alike(engine: Engine, times: list[int]) -> None:
    stored = ", ".join(f"reinterpret(toInt64('{time}'), 'DateTime64(3)')" for time in times)
    bounded = render_offload("kafka_time.sql", column="stored")
    sql = f"SELECT toString(toUnixTimestamp64Milli({bounded})) FROM (SELECT arrayJoin([{stored}]) AS stored)"
    assert engine.execute(sql) == [[str(bounded_ms(time))] for time in times]
