"""Faust's Kafka transport with a short fetch wait: a new Bronze message is seen within milliseconds on any broker."""

from __future__ import annotations

from typing import Any

from faust.transport.drivers import aiokafka as driver

# Faust asks the broker to hold a fetch for 1.5 s until data comes. A broker that does not answer early (the in-memory
# one) would add that to every trade's latency.
FETCH_WAIT_MS = 20


class QuickThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The consumer's thread, whose fetches wait at most `FETCH_WAIT_MS`."""

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Read when the consumer starts; Faust has no setting for it.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer


class QuickConsumer(driver.Consumer):  # type: ignore[misc]
    """A consumer that runs in a `QuickThread`."""

    def _new_consumer_thread(self) -> QuickThread:
        return QuickThread(self, loop=self.loop, beacon=self.beacon)


class QuickTransport(driver.Transport):  # type: ignore[misc]
    """A transport whose consumers are `QuickConsumer`s."""

    Consumer = QuickConsumer
