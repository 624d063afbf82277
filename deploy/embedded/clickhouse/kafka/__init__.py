"""A stand-in for ClickHouse's Kafka table engine, which does not run inside chDB."""

from deploy.embedded.clickhouse.kafka.tables import KafkaTables

__all__ = ["KafkaTables"]
