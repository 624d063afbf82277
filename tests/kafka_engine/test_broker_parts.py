"""librdkafka has the functions that `deploy.embedded.broker` calls directly.

librdkafka promises nothing about its mock cluster. An upgrade that removes or renames a function fails here at once,
and not as an embedded stack without a broker.
"""

from __future__ import annotations

import ctypes
import inspect
import re

import pytest
from confluent_kafka import cimpl

from deploy.embedded import broker

FUNCTIONS = [
    "rd_kafka_conf_new",
    "rd_kafka_conf_set",
    "rd_kafka_conf_set_log_cb",
    "rd_kafka_new",
    "rd_kafka_destroy",
    "rd_kafka_mock_cluster_new",
    "rd_kafka_mock_cluster_destroy",
    "rd_kafka_mock_cluster_bootstraps",
    "rd_kafka_mock_topic_create",
    "rd_kafka_mock_group_initial_rebalance_delay_ms",
]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_librdkafka_has_the_function(name: str) -> None:
    assert hasattr(ctypes.CDLL(cimpl.__file__), name)


def test_the_list_names_every_function_that_the_broker_calls() -> None:
    assert {*re.findall(r"\brd_kafka_\w+", inspect.getsource(broker))} == {*FUNCTIONS}
