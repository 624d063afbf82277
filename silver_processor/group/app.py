"""Builds the Faust app of a worker from the settings: group, broker, timing. Builds the process that runs it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import faust
from mode import Service

from config.connections import tls_context
from config.settings import Settings
from silver_processor.group.membership import (
    IncompleteAssignmentError,
    MembershipTransport,
    WholeAssignor,
    own_url,
)

# A message holds thousands of rows, and every buffered one is in memory.
_BUFFERED_MESSAGES = 64
_FETCH_BYTES = 8 * 2**20
# How often Faust commits every partition. A producer that bounds unconsumed bytes waits for committed offsets
# (`producers.kafka.flow_control.FlowControl`), so rarer commits would slow it down.
_COMMIT_SECONDS = 0.25
_HEARTBEATS_A_SESSION = 6
# The group's leader learns of new partitions within this time.
_METADATA_SECONDS = 10.0
# A day: a worker that waits for ClickHouse stays in the group.
_POLL_INTERVAL_S = 86_400.0


# How long the event loop may stand still before Faust logs where.
_BLOCKING_S = 60.0


class SilverApp(faust.App):  # type: ignore[misc]
    """A Faust app without tables."""

    async def on_first_start(self) -> None:
        """Make no folders. Faust's own method makes some for its tables, and a killed worker would leave them."""


def silver_app(settings: Settings, refused: Callable[[IncompleteAssignmentError], object]) -> SilverApp:
    """The app of a worker, with the transport and the assignor of `silver_processor.group.membership`.

    `refused` is called with every refused assignment, on the consumer's thread.

    Raises:
        OSError: `kafka_ca_file` cannot be read or holds no certificate.
    """
    servers = settings.kafka_bootstrap_servers.split(",")
    session_seconds = settings.silver_session_timeout_ms / 1000
    app = SilverApp(
        settings.silver_consumer_group,
        broker=[f"kafka://{server.strip()}" for server in servers],
        broker_credentials=credentials(settings),
        store="memory://",
        web_enabled=False,
        canonical_url=own_url(),
        PartitionAssignor=partial(WholeAssignor, refused=refused),
        consumer_metadata_max_age_ms=int(_METADATA_SECONDS * 1000),
        topic_disable_leader=True,
        topic_allow_declare=False,
        broker_commit_interval=_COMMIT_SECONDS,
        broker_commit_every=1_000,
        consumer_auto_offset_reset="earliest",
        consumer_max_fetch_size=_FETCH_BYTES,
        broker_session_timeout=session_seconds,
        broker_heartbeat_interval=session_seconds / _HEARTBEATS_A_SESSION,
        stream_buffer_maxsize=_BUFFERED_MESSAGES,
        broker_max_poll_interval=_POLL_INTERVAL_S,
        stream_recovery_delay=0.0,
    )
    # A transport needs its app, so Faust takes another transport than its own only by this property.
    app.transport = MembershipTransport(app.conf.broker_consumer, app)
    return app


def worker_process(app: SilverApp, *services: Service) -> Any:
    """The process of a worker. It starts the services, then the app, and stops them in reverse order."""
    process = faust.Worker(
        app,
        *services,
        loglevel=None,
        quiet=True,
        redirect_stdouts=False,
        override_logging=False,
        blocking_timeout=_BLOCKING_S,
    )
    # Faust's spinner draws on standard output even without a terminal. No argument turns it off.
    process.spinner = None
    return process


def credentials(settings: Settings) -> Any:
    """Faust's `broker_credentials`; None if the broker asks for neither a name nor TLS.

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
