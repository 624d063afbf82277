"""SQL bounds Kafka times as Python does, and rows that earlier versions stored unbounded come to their right day."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from config.settings import Settings
from ddl.render import render
from ddl.runner import apply
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


def test_rows_of_an_earlier_version_come_to_their_day(engine: Engine) -> None:
    here = Settings(clickhouse_database="earlier_times")
    apply(engine, here, [statement for statement in render(here) if statement.migration < "0026"])
    times = [1_795_860_000_000, 1_795_860_000_000_001, -5, 253_402_300_800_000]
    for table in ("duplicate_trades", "dlq_trades_log"):
        for offset, time in enumerate(times):
            engine.execute(
                f"INSERT INTO earlier_times.{table} (raw_topic, raw_offset, published_at)"
                f" SELECT 't', {offset}, reinterpret(toInt64({time}), 'DateTime64(3, \\'UTC\\')')"
            )
    apply(engine, here)
    for table in ("duplicate_trades", "dlq_trades_log"):
        sql = f"SELECT raw_offset, toString(toUnixTimestamp64Milli(published_at)) FROM earlier_times.{table} FINAL"
        assert engine.execute(f"{sql} ORDER BY raw_offset") == [
            [offset, str(bounded_ms(time))] for offset, time in enumerate(times)
        ]
