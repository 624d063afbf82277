"""Faust's Kafka transport, with fetches that answer at once and a group membership that survives errors."""

from __future__ import annotations

import logging
import os
from typing import Any

import faust
import structlog
from aiokafka.errors import KafkaError
from faust.transport.drivers import aiokafka as driver
from mode import Service

from config.connections import tls_context
from config.settings import Settings

# Faust asks the broker to hold a fetch for 1.5 s until data comes. A broker that does not answer early (the in-memory
# one) would add that to every trade's latency.
FETCH_WAIT_MS = 20
_CHECK_SECONDS = 0.5
_EXIT_UNRECOVERABLE = 70


def credentials(settings: Settings) -> Any:
    """Faust's `broker_credentials`; None where the broker wants neither a name nor TLS.

    Raises:
        OSError: `kafka_ca_file` cannot be read or holds no certificate.
    """
    context = tls_context(settings.kafka_ca_file) if settings.kafka_has_tls else None
    if settings.kafka_has_sasl:
        return faust.SASLCredentials(
            username=settings.kafka_sasl_username,
            password=settings.kafka_sasl_password.get_secret_value(),
            mechanism=settings.kafka_sasl_mechanism,
            ssl_context=context,
        )
    return None if context is None else faust.SSLCredentials(context)


class QuickThread(driver.AIOKafkaConsumerThread):  # type: ignore[misc]
    """The consumer's thread, whose fetches wait at most `FETCH_WAIT_MS`."""

    # Otherwise Faust's news of its services would count as ours.
    logger = logging.getLogger("faust.transport")

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        # Read when the consumer starts; Faust has no setting for it.
        consumer._fetch_max_wait_ms = FETCH_WAIT_MS
        return consumer

    @Service.task  # type: ignore[untyped-decorator]
    async def _consume_group_errors(self) -> None:
        """Take errors of the group protocol off aiokafka's hands, so that it joins again.

        After one, aiokafka waits until somebody looks at it. `getmany` does; Faust fetches past it and would
        hang for ever, alive and without partitions.
        """
        log = structlog.get_logger()
        while not self.should_stop:
            coordinator = getattr(self._consumer, "_coordinator", None)
            if coordinator is not None:
                task = getattr(coordinator, "_coordination_task", None)
                try:
                    coordinator.check_errors()
                except KafkaError as error:
                    log.warning("consumer group error, joining again", error=repr(error))
                    if task is not None and task.done() and not self.should_stop:
                        # Nothing is acknowledged that is not durable: a new process takes over.
                        log.exception("consumer group membership is lost for good, ending the process")
                        os._exit(_EXIT_UNRECOVERABLE)
            await self.sleep(_CHECK_SECONDS)


class QuickConsumer(driver.Consumer):  # type: ignore[misc]
    """A consumer that runs in a `QuickThread`."""

    logger = logging.getLogger("faust.transport")

    def _new_consumer_thread(self) -> QuickThread:
        return QuickThread(self, loop=self.loop, beacon=self.beacon)


class QuickTransport(driver.Transport):  # type: ignore[misc]
    """A transport whose consumers are `QuickConsumer`s."""

    Consumer = QuickConsumer
