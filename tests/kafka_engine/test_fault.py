"""A node whose Kafka table can no longer read says so where its supervisor asks, and is started again."""

from __future__ import annotations

from pathlib import Path

import urllib3

from tests.clickhouse import PASSWORD
from tests.kafka_engine.kafka import publish
from tests.kafka_engine.node import wait_until
from tests.offload.conftest import Node

# A fault that nobody foresaw, in the place of one.
PROGRAM = """
import sys
from deploy.embedded.clickhouse.process import main
from deploy.embedded.clickhouse.kafka import source
def block(*_): raise RuntimeError("unforeseen")
source.block = block
sys.argv += ["--kafka-brokers", {brokers!r}]
sys.exit(main())
"""


def test_the_supervisor_hears_of_a_thread_that_ended(brokers: str, tmp_path: Path) -> None:
    node = Node(tmp_path / "node", program=("-c", PROGRAM.format(brokers=brokers)))
    node.start()
    url = f"http://127.0.0.1:{node.http_port}"
    try:
        for sql in (
            "CREATE DATABASE m ENGINE = Atomic",
            "CREATE TABLE m.q (raw_data String) ENGINE = Kafka SETTINGS kafka_broker_list = 'none:1', "
            "kafka_topic_list = 'faulty', kafka_group_name = 'faulty', kafka_format = 'RawBLOB'",
            "CREATE TABLE m.t (r String) ENGINE = MergeTree ORDER BY r",
            "CREATE MATERIALIZED VIEW m.v TO m.t AS SELECT raw_data AS r FROM m.q",
        ):
            answer = urllib3.request(
                "POST", url, body=sql, headers={"X-ClickHouse-User": "default", "X-ClickHouse-Key": PASSWORD}
            )
            assert answer.status == 200, answer.data
        assert urllib3.request("GET", f"{url}/ping").status == 200
        publish(brokers, [{"topic": "faulty", "partition": 0, "value": b"1"}])
        wait_until(lambda: urllib3.request("GET", f"{url}/ping").status == 503)
        assert b"m.q" in urllib3.request("GET", f"{url}/ping").data
    finally:
        node.kill()
