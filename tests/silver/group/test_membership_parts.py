"""The parts of Faust and aiokafka that `silver_processor.group` relies on are there.

An upgrade that removes or renames one of them fails here at once, and not as a worker without partitions in production.
"""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import Fetcher
from aiokafka.consumer.group_coordinator import GroupCoordinator
from faust import App
from faust.assignor import PartitionAssignor
from faust.assignor.client_assignment import ClientAssignment
from faust.transport.consumer import Consumer, ThreadDelegateConsumer
from faust.transport.drivers import aiokafka as driver
from faust.worker import Worker
from mode.threads import ServiceThread


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (Consumer, "highwater"),
        (driver.AIOKafkaConsumerThread, "_fetch_records"),
        (driver.AIOKafkaConsumerThread, "_commit"),
        (driver.AIOKafkaConsumerThread, "_create_worker_consumer"),
        (driver.AIOKafkaConsumerThread, "_ensure_consumer"),
        (driver.AIOKafkaConsumerThread, "call_thread"),
        (driver.AIOKafkaConsumerThread, "on_thread_stop"),
        (driver.Consumer, "_new_consumer_thread"),
        (PartitionAssignor, "_get_client_metadata"),
        (PartitionAssignor, "external_topics_metadata"),
        (GroupCoordinator, "_do_rejoin_group"),
        (GroupCoordinator, "fetch_committed_offsets"),
        (GroupCoordinator, "maybe_leave_group"),
        (GroupCoordinator, "check_errors"),
        (AIOKafkaClient, "force_metadata_update"),
        (AIOKafkaClient, "close"),
    ],
)
def test_a_method_that_is_called_or_overridden_exists(owner: type[Any], name: str) -> None:
    assert callable(getattr(owner, name))


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (AIOKafkaConsumer, "_coordinator"),
        (AIOKafkaConsumer, "_client"),
        (AIOKafkaConsumer, "_fetcher"),
        (AIOKafkaConsumer, "_fetch_max_wait_ms"),
        (Fetcher, "_fetch_max_wait_ms"),
        (GroupCoordinator, "_coordination_task"),
        (GroupCoordinator, "generation"),
        (Consumer, "_committed_offset"),
        (driver.AIOKafkaConsumerThread, "_consumer"),
        (ServiceThread, "thread_loop"),
        (Worker, "spinner"),
        (ThreadDelegateConsumer, "_thread"),
    ],
)
def test_an_attribute_that_is_read_or_set_is_made_by_its_class(owner: type[Any], name: str) -> None:
    assert re.search(rf"\bself\.{name}\b[^=\n]*=", inspect.getsource(owner)), f"{owner.__name__} does not set {name}"


def test_an_assignment_can_be_empty() -> None:
    """`WholeAssignor` gives each member one, by these names."""
    empty = ClientAssignment(actives={}, standbys={})
    assert (empty.actives, empty.standbys) == ({}, {})


def test_the_thread_is_a_service_with_a_loop_and_the_transport_can_be_set() -> None:
    assert issubclass(driver.AIOKafkaConsumerThread, ServiceThread)
    assert isinstance(App.transport, property)
    assert App.transport.fset is not None


def test_what_is_waited_for_can_be_taken_back() -> None:
    """`GroupMembership.drop` takes a message out of the set for which a rebalance waits."""
    assert isinstance(Consumer.unacked, property)
    assert "self._unacked_messages" in inspect.getsource(Consumer.wait_empty)
    assert "self._unacked_messages" in inspect.getsource(Consumer.unacked.fget)
