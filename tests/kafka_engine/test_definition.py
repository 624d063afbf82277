"""CREATE TABLE … ENGINE = Kafka is understood as ClickHouse writes it, and refused where there is no stand-in."""

from __future__ import annotations

import pytest

from deploy.embedded.clickhouse.errors import EngineError
from deploy.embedded.clickhouse.kafka.definition import KafkaTableRole, check, parse_kafka_table

SETTINGS = "kafka_broker_list = 'b:1', kafka_topic_list = 'x, y', kafka_group_name = 'g', kafka_format = 'RawBLOB'"
KNOWN = frozenset({"output_format_avro_codec"})


def test_settings_columns_and_prefix_are_found() -> None:
    table = parse_kafka_table(
        f"-- why\nCREATE TABLE IF NOT EXISTS `d`.t (\n "
        'raw String CODEC(ZSTD(1)), `k" x` Map(String, String)\n) ENGINE = Kafka() '
        f"SETTINGS {SETTINGS}, kafka_max_block_size = 7, output_format_avro_codec = 'it''s \\'null\\''"
    )
    assert table is not None
    assert table.column_names == ("raw", 'k" x')
    assert table.prefix.endswith("CREATE TABLE IF NOT EXISTS `d`.t")
    assert (table.role, table.topics, table.group) == (KafkaTableRole.SOURCE, ("x", "y"), "g")
    assert table.number("kafka_max_block_size", 1) == 7
    assert table.number("kafka_flush_interval_ms", 5) == 5
    assert table.format_settings == {"output_format_avro_codec": "it's 'null'"}


def test_positional_arguments_are_understood() -> None:
    table = parse_kafka_table(
        "CREATE TABLE t (a String) ENGINE = Kafka('b:1', 't', 'g', 'Avro') SETTINGS kafka_num_consumers = 1"
    )
    assert table is not None
    assert (table.settings["kafka_broker_list"], table.topics, table.group, table.role) == (
        "b:1",
        ("t",),
        "g",
        KafkaTableRole.SINK,
    )
    check(table, KNOWN)


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t (a String) ENGINE = MergeTree ORDER BY a COMMENT 'ENGINE = Kafka'",
        "SELECT 'CREATE TABLE t (a String) ENGINE = Kafka'",
        "CREATE MATERIALIZED VIEW v TO t AS SELECT * FROM q",
        "",
    ],
)
def test_other_statements_are_none_of_ours(sql: str) -> None:
    assert parse_kafka_table(sql) is None


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ("kafka_broker_list = 'b:1'", 36),
        (f"{SETTINGS}, kafka_flush_intervall_ms = 1", 115),
        (f"{SETTINGS}, output_format_afro = 1", 115),
        (f"{SETTINGS}, kafka_keeper_path = '/x'", 115),
        (f"{SETTINGS}, kafka_handle_error_mode = 'dead_letter_queue'", 48),
        (SETTINGS.replace("RawBLOB", "JSONEachRow"), 48),
        (SETTINGS.replace("RawBLOB", "Avro"), 36),
    ],
)
def test_what_the_stand_in_does_not_do_is_refused(settings: str, code: int) -> None:
    table = parse_kafka_table(f"CREATE TABLE t (a String) ENGINE = Kafka SETTINGS {settings}")
    assert table is not None
    with pytest.raises(EngineError) as refused:
        check(table, KNOWN)
    assert refused.value.code == code


def test_the_original_statement_is_the_comment_of_the_stand_in() -> None:
    sql = f"CREATE TABLE d.t (raw String) ENGINE = Kafka SETTINGS {SETTINGS}"
    table = parse_kafka_table(sql + " ;")
    assert table is not None
    assert table.statement == sql
    assert sql.replace("'", "\\'") in table.stand_in()
