"""A stand-in for ClickHouse's Kafka table engine, which does not run inside chDB.

May import `native_format` and before, and the flow control of `producers.kafka`."""

from deploy.embedded.clickhouse.kafka.tables import KafkaTables

__all__ = ["KafkaTables"]
