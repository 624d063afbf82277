"""The settings of every Medallion service: environment variables `MEDALLION_…`, checked at start."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

DEFAULT_SYMBOLS_FILE = Path(__file__).with_name("symbols.yaml")
DEFAULT_EXCHANGES = (
    "binance",
    "binance_usdm",
    "binance_coinm",
    "kraken",
    "bybit",
    "bybit_linear",
    "okx",
    "coinbase",
)
RAW_TOPIC = "market.crypto.trades.{exchange}.raw"
UNLISTED_EXCHANGE = "unlisted"


class Settings(BaseSettings):
    """Endpoints and limits; the services know these, never whether they run embedded or deployed.

    Raises:
        pydantic.ValidationError: a value is missing or out of range; the message names the variable.
    """

    model_config = SettingsConfigDict(env_prefix="MEDALLION_", extra="forbid", frozen=True)

    # Kafka API
    kafka_bootstrap_servers: str = "localhost:9092"
    kafka_max_message_bytes: Annotated[int, Field(ge=1_000_000)] = 33_554_432
    exchanges: Annotated[tuple[str, ...], NoDecode] = DEFAULT_EXCHANGES
    bronze_topic: str = "market.crypto.trades.bronze"
    dlq_topic: str = "market.crypto.trades.dlq"
    gaps_topic: str = "market.crypto.producer.gaps"
    raw_consumer_group: str = "clickhouse_raw"
    dlq_consumer_group: str = "clickhouse_dlq"
    gaps_consumer_group: str = "clickhouse_gaps"
    silver_consumer_group: str = "silver"
    # A broker that keeps little (the in-memory one) must not be outrun: at most this many bytes of a
    # partition published and not yet consumed. 0: no pacing, the broker's retention is the limit.
    publish_max_unconsumed_bytes: Annotated[int, Field(ge=0)] = 0

    # ClickHouse
    clickhouse_host: str = "localhost"
    clickhouse_port: Annotated[int, Field(ge=1, le=65535)] = 9000
    clickhouse_http_port: Annotated[int, Field(ge=1, le=65535)] = 8123
    clickhouse_user: str = "default"
    clickhouse_password: SecretStr = SecretStr("")
    clickhouse_database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "medallion"
    clickhouse_cluster: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]*$")] = ""
    # What the Kafka engine is told; ClickHouse reads the broker at its own address of it.
    clickhouse_kafka_brokers: str = "localhost:9092"
    kafka_flush_interval_ms: Annotated[int, Field(ge=1)] = 50
    kafka_max_block_rows: Annotated[int, Field(ge=1)] = 65_536
    bronze_rows_per_message: Annotated[int, Field(ge=1, le=65_536)] = 8_192
    bronze_shards: Annotated[int, Field(ge=1, le=1024)] = 1
    deduplication_window: Annotated[int, Field(ge=1_000)] = 100_000

    # Silver
    symbols_file: Path = DEFAULT_SYMBOLS_FILE
    max_message_bytes: Annotated[int, Field(ge=1_024)] = 1_048_576
    silver_merge_rows: Annotated[int, Field(ge=1)] = 100_000
    silver_merge_ms: Annotated[int, Field(ge=0)] = 20
    # How long a killed worker's partitions lie idle; brokers allow no less than 6 s unless told otherwise.
    silver_session_timeout_ms: Annotated[int, Field(ge=1_000, le=300_000)] = 6_000

    # Iceberg
    iceberg_catalog_uri: str = "sqlite:///.medallion/catalog.db"
    iceberg_warehouse: str = "file:///tmp/medallion-warehouse"
    iceberg_namespace: str = "cold"

    # Observability
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """The settings that `MEDALLION_…` variables of `environment` give, this process's own notwithstanding.

        Variables that no setting knows (such as `MEDALLION_DATA_DIR`) are left to those who read them.
        """
        prefix = "MEDALLION_"
        values = {
            name.removeprefix(prefix).lower(): value for name, value in environment.items() if name.startswith(prefix)
        }
        return cls(**{name: value for name, value in values.items() if name in cls.model_fields})  # type: ignore[arg-type]

    @field_validator("exchanges", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def raw_topics(self) -> tuple[str, ...]:
        """Every raw topic ClickHouse reads: one an exchange, and one for exchanges nobody listed."""
        return tuple(RAW_TOPIC.format(exchange=code) for code in (*self.exchanges, UNLISTED_EXCHANGE))

    def raw_topic(self, exchange: str) -> str:
        """The raw topic of an exchange code; unlisted codes share one, so that none is lost."""
        return RAW_TOPIC.format(exchange=exchange if exchange in self.exchanges else UNLISTED_EXCHANGE)
