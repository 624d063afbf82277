"""librdkafka configurations of the stand-in's consumers and producers."""

from __future__ import annotations

import logging
from collections.abc import Mapping

_LARGEST_RESPONSE = 1_000_000_000
_LEAST_WAIT_MS, _LONGEST_WAIT_MS = 10, 500
_SECURITY = {
    "kafka_client_id": "client.id",
    "kafka_security_protocol": "security.protocol",
    "kafka_sasl_mechanism": "sasl.mechanism",
    "kafka_sasl_username": "sasl.username",
    "kafka_sasl_password": "sasl.password",
}


def consumer_config(
    settings: Mapping[str, str], brokers: str | None, flush_ms: int, instance: str
) -> dict[str, object]:
    """Configure a consumer that starts a new group at the beginning and commits only on request, as the engine's does.

    Args:
        settings: the table's `kafka_…` settings.
        brokers: used instead of `kafka_broker_list`.
        flush_ms: how long a message may wait for others, ms.
        instance: the name of this member in its group. After a restart, a member of this name takes its place at once.
    """
    return {
        **_common(settings, brokers),
        "group.id": settings["kafka_group_name"],
        "group.instance.id": instance,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "allow.auto.create.topics": True,
        "topic.metadata.refresh.interval.ms": 2_000,
        # The in-memory broker answers an empty fetch only after this time, even if a message comes earlier. If it is
        # shorter, an idle stack spends most of its CPU on fetches. So messages come in bursts; two bursts fit into the
        # flush interval, and the second comes when a block is due.
        "fetch.wait.max.ms": min(max(_LEAST_WAIT_MS, flush_ms * 4 // 9), _LONGEST_WAIT_MS),
        "fetch.queue.backoff.ms": 5,
        "fetch.error.backoff.ms": 50,
        "receive.message.max.bytes": _LARGEST_RESPONSE,
        # After a SIGKILL the group waits this long for the dead member. Brokers allow no less than 6 s by default.
        "session.timeout.ms": 6_000,
        "heartbeat.interval.ms": 500,
        # The consumer must stay in its group while the engine keeps refusing a block.
        "max.poll.interval.ms": 86_400_000,
    }


def producer_config(settings: Mapping[str, str], brokers: str | None) -> dict[str, object]:
    """Configure a producer that retries until the broker has every message exactly once."""
    given = {
        "compression.codec": settings.get("kafka_compression_codec"),
        "compression.level": settings.get("kafka_compression_level"),
    }
    return {
        **_common(settings, brokers),
        **{name: value for name, value in given.items() if value},
        "enable.idempotence": True,
        "acks": "all",
        "message.timeout.ms": 0,
        "message.max.bytes": _LARGEST_RESPONSE,
        "queue.buffering.max.kbytes": 2_097_151,
        "linger.ms": 0,
    }


def _common(settings: Mapping[str, str], brokers: str | None) -> dict[str, object]:
    security = {ours: settings[theirs] for theirs, ours in _SECURITY.items() if settings.get(theirs)}
    return {
        "bootstrap.servers": brokers or settings["kafka_broker_list"],
        "log_level": 3,
        # Without a logger librdkafka writes to standard error, in a format of its own.
        "logger": logging.getLogger("librdkafka"),
        **security,
    }
