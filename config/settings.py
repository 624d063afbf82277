"""The settings of all services: environment variables `MEDALLION_…`, checked at the start.

`MEDALLION_X_FILE` names a file with the value of the secret `MEDALLION_X`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from config.errors import MedallionError

DEFAULT_SYMBOLS_FILE = Path(__file__).with_name("symbols.yaml")
DEFAULT_SCHEDULES_FILE = Path(__file__).with_name("schedules.yaml")
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
_PREFIX = "MEDALLION_"
# A smaller bound of unconsumed bytes has no room for a message whose texts are cut to their shortest.
_LEAST_BOUND = 100_000


def _default_warehouse() -> str:
    return f"file://{Path.cwd() / '.medallion' / 'warehouse'}"


class SecretFileError(MedallionError):
    """The file of a secret cannot be used."""


class _SecretFiles(PydanticBaseSettingsSource):
    """The source for `…_FILE` variables of this process's environment."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Required by pydantic; `__call__` returns all values at once."""
        del field
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """The secrets by setting."""
        return dict(_read_secrets(self.settings_cls.model_fields, os.environ))


class Settings(BaseSettings):
    """Endpoints and limits. A service knows only these, not whether it runs embedded or deployed.

    A secret can be kept in a file: `MEDALLION_CLICKHOUSE_PASSWORD_FILE` is its path.

    Raises:
        pydantic.ValidationError: a value is missing or out of range. The message names the variable.
        SecretFileError: the file of a secret cannot be used.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, extra="forbid", frozen=True, hide_input_in_errors=True)

    # Kafka API
    kafka_bootstrap_servers: str = "localhost:9092"
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-256"
    kafka_sasl_username: str = ""
    kafka_sasl_password: SecretStr = SecretStr("")
    # Trusted authorities, PEM; None for the system's. The same holds for every other `…_ca_file`.
    kafka_ca_file: Path | None = None
    kafka_max_message_bytes: Annotated[int, Field(ge=1_000_000)] = 33_554_432
    exchanges: Annotated[tuple[str, ...], NoDecode] = DEFAULT_EXCHANGES
    bronze_topic: str = "market.crypto.trades.bronze"
    dlq_topic: str = "market.crypto.trades.dlq"
    gaps_topic: str = "market.crypto.producer.gaps"
    raw_consumer_group: str = "clickhouse_raw"
    dlq_consumer_group: str = "clickhouse_dlq"
    gaps_consumer_group: str = "clickhouse_gaps"
    silver_consumer_group: str = "silver"
    # Most bytes of a partition that are published and not yet consumed, for brokers with a small retention, such as the
    # in-memory one. A larger message is cut. 0: no limit but the broker's retention.
    publish_max_unconsumed_bytes: Annotated[int, Field(ge=0)] = 0

    # Live producers: after this time without a message, a symbol is compared with the exchange's newest trades. 0:
    # never.
    producer_quiet_check_s: Annotated[float, Field(ge=0.0)] = 60.0

    # ClickHouse
    clickhouse_host: str = "localhost"
    clickhouse_port: Annotated[int, Field(ge=1, le=65535)] = 9000
    clickhouse_http_port: Annotated[int, Field(ge=1, le=65535)] = 8123
    clickhouse_user: str = "default"
    clickhouse_password: SecretStr = SecretStr("")
    # TLS on both ports. These are then the server's secure ports (by default 9440 and 8443).
    clickhouse_tls: bool = False
    clickhouse_ca_file: Path | None = None
    clickhouse_database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "medallion"
    clickhouse_cluster: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]*$")] = ""
    # The broker's address for ClickHouse's Kafka engine, which may differ from ours.
    clickhouse_kafka_brokers: str = "localhost:9092"
    kafka_flush_interval_ms: Annotated[int, Field(ge=1)] = 90
    kafka_max_block_rows: Annotated[int, Field(ge=1)] = 65_536
    bronze_rows_per_message: Annotated[int, Field(ge=1, le=65_536)] = 8_192
    # Each insert covers one partition, and so one shard. More shards than workers only make more inserts a cycle.
    bronze_shards: Annotated[int, Field(ge=1, le=1024)] = 1
    deduplication_window: Annotated[int, Field(ge=1_000)] = 100_000
    # How often ClickHouse makes the copy that the view `latest_prices` reads.
    latest_prices_every_s: Annotated[int, Field(ge=1, le=30)] = 1

    # Series
    schedules_file: Path = DEFAULT_SCHEDULES_FILE
    # Bounds of a quality check. Binance's file of a day appears the day after, so a series is stale after two days.
    quality_stale_hours: Annotated[float, Field(gt=0.0)] = 48.0
    quality_price_off_percent: Annotated[float, Field(gt=0.0)] = 2.0
    quality_jump_percent: Annotated[float, Field(gt=0.0)] = 10.0
    # Keys of the providers of equity bars. The rates are those of their free plans.
    polygon_api_key: SecretStr = SecretStr("")
    polygon_requests_per_minute: Annotated[int, Field(ge=1)] = 5
    alpaca_api_key: SecretStr = SecretStr("")
    alpaca_secret_key: SecretStr = SecretStr("")
    alpaca_requests_per_minute: Annotated[int, Field(ge=1)] = 200
    # `sip`: all exchanges. `iex`: IEX alone; only there a free plan also has the last 15 minutes.
    alpaca_feed: Literal["sip", "iex"] = "sip"

    # Silver
    symbols_file: Path = DEFAULT_SYMBOLS_FILE
    max_message_bytes: Annotated[int, Field(ge=1_024)] = 1_048_576
    silver_merge_rows: Annotated[int, Field(ge=1)] = 100_000
    # Few parts, or low latency (silver_processor/batching/scheduler.py). An insert of fewer rows than `small_rows` is
    # small. A small insert starts at least `small_gap_ms` after the start of the last insert. No message waits longer
    # than `longest_wait_ms`.
    silver_small_rows: Annotated[int, Field(ge=1)] = 250
    silver_small_gap_ms: Annotated[int, Field(ge=0)] = 40
    silver_longest_wait_ms: Annotated[int, Field(ge=0)] = 100
    # After this time the partitions of a killed worker get another owner. By default brokers allow no less than 6 s.
    silver_session_timeout_ms: Annotated[int, Field(ge=1_000, le=300_000)] = 6_000
    # If Bronze partitions have no owner for a quarter of this time, a worker joins the group again; after the whole
    # time the worker ends. A rebalance that waits for a dead worker takes up to 60 s.
    silver_unowned_limit_s: Annotated[float, Field(ge=8.0)] = 120.0

    # Iceberg
    iceberg_catalog_uri: str = "sqlite:///.medallion/catalog.db"
    # Beside the catalog by default. Not in /tmp, where another user could create the folder first.
    iceberg_warehouse: str = Field(default_factory=_default_warehouse)
    iceberg_namespace: str = "cold"
    # For a REST catalog: a token, or `client-id:client-secret` to get one from the OAuth2 server.
    iceberg_catalog_token: SecretStr = SecretStr("")
    iceberg_catalog_credential: SecretStr = SecretStr("")
    iceberg_oauth2_uri: str = ""
    iceberg_catalog_scope: str = ""
    # The environment's REQUESTS_CA_BUNDLE wins over it: pyiceberg uses requests.
    iceberg_ca_file: Path | None = None
    # For the bucket of an s3:// warehouse; "" leaves it to the environment (AWS_…, instance role).
    s3_endpoint: str = ""
    s3_region: str = ""
    s3_access_key_id: str = ""
    s3_secret_access_key: SecretStr = SecretStr("")
    s3_ca_file: Path | None = None
    # Target size of cold files, written or compacted. A partition's last file may have half of it.
    offload_file_bytes: Annotated[int, Field(ge=4_096)] = 268_435_456
    # Least number of files below half of that size that are compacted.
    compact_min_files: Annotated[int, Field(ge=2)] = 4
    # Age at which snapshots expire, except current and pinned ones, and at which orphans are removed.
    snapshot_keep_days: Annotated[float, Field(ge=0)] = 7.0
    orphan_keep_days: Annotated[float, Field(ge=0.1)] = 1.0

    # The page and Binance's interfaces (`medallion serve`). Clients outside this machine need the token.
    serving_host: str = "127.0.0.1"
    serving_port: Annotated[int, Field(ge=0, le=65535)] = 8686
    serving_token: SecretStr = SecretStr("")
    # Whether the service shows raw messages (`/replay`). In the embedded stack the analyst may then read Raw and pins.
    serving_raw: bool = False

    # Observability
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    # Addresses of the monitoring; "" if there is none.
    prometheus_url: str = ""
    alertmanager_url: str = ""
    grafana_url: str = ""
    grafana_user: str = "admin"
    grafana_password: SecretStr = SecretStr("")
    log_level: Annotated[str, Field(pattern="^(DEBUG|INFO|WARNING|ERROR)$")] = "INFO"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """The settings from the `MEDALLION_…` variables of `environment`, not of this process.

        Variables that are no setting (such as `MEDALLION_DATA_DIR`) are ignored.
        """
        values: dict[str, Any] = {
            name.removeprefix(_PREFIX).lower(): value for name, value in environment.items() if name.startswith(_PREFIX)
        }
        secrets = _read_secrets(cls.model_fields, environment)
        return cls(**{name: value for name, value in (values | secrets).items() if name in cls.model_fields})

    @classmethod
    def variables(cls) -> frozenset[str]:
        """All environment variables that are read."""
        names = {f"{_PREFIX}{name}".upper() for name in cls.model_fields}
        return frozenset(names | {f"{_PREFIX}{name}_file".upper() for name in _secret_names(cls.model_fields)})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The sources by precedence: arguments, the environment, then the files that it names."""
        del dotenv_settings, file_secret_settings
        return init_settings, env_settings, _SecretFiles(settings_cls)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.kafka_has_sasl and not (self.kafka_sasl_username and self.kafka_sasl_password.get_secret_value()):
            message = (
                f"MEDALLION_KAFKA_SECURITY_PROTOCOL={self.kafka_security_protocol} needs "
                "MEDALLION_KAFKA_SASL_USERNAME and MEDALLION_KAFKA_SASL_PASSWORD (or …_PASSWORD_FILE)"
            )
            raise ValueError(message)
        if self.s3_access_key_id and not self.s3_secret_access_key.get_secret_value():
            raise ValueError("MEDALLION_S3_ACCESS_KEY_ID needs MEDALLION_S3_SECRET_ACCESS_KEY (or …_FILE)")
        if 0 < self.publish_max_unconsumed_bytes < _LEAST_BOUND:
            raise ValueError(f"MEDALLION_PUBLISH_MAX_UNCONSUMED_BYTES is 0 (no limit), or at least {_LEAST_BOUND}")
        return self

    @field_validator("exchanges", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def kafka_has_sasl(self) -> bool:
        """Whether clients of the broker log in."""
        return self.kafka_security_protocol.startswith("SASL")

    @property
    def kafka_has_tls(self) -> bool:
        """Whether clients of the broker use TLS."""
        return self.kafka_security_protocol.endswith("SSL")

    @property
    def raw_topics(self) -> tuple[str, ...]:
        """All raw topics that ClickHouse reads: one for each exchange, and one for all unlisted codes."""
        return tuple(RAW_TOPIC.format(exchange=code) for code in (*self.exchanges, UNLISTED_EXCHANGE))

    def raw_topic(self, exchange: str) -> str:
        """The raw topic of an exchange code. Unlisted codes share one, so none of their messages is lost."""
        return RAW_TOPIC.format(exchange=exchange if exchange in self.exchanges else UNLISTED_EXCHANGE)


def _secret_names(fields: Mapping[str, FieldInfo]) -> tuple[str, ...]:
    """The settings that are secrets."""
    return tuple(name for name, field in fields.items() if field.annotation is SecretStr)


def _read_secrets(fields: Mapping[str, FieldInfo], environment: Mapping[str, str]) -> dict[str, str]:
    """Read the secrets of `fields` that `environment` keeps in files. A line break at a file's end does not count.

    Raises:
        SecretFileError: a secret is set both ways, or its file cannot be read or is empty.
    """
    found = {}
    for name in _secret_names(fields):
        variable = f"{_PREFIX}{name}".upper()
        path = environment.get(f"{variable}_FILE", "")
        if not path:
            continue
        if environment.get(variable):
            raise SecretFileError(f"{variable} and {variable}_FILE are both set: unset one of them.")
        found[name] = _read_secret(Path(path), variable)
    return found


def _read_secret(path: Path, variable: str) -> str:
    try:
        text = path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise SecretFileError(f"{variable}_FILE names {path}, which cannot be read: {error}") from error
    if not text:
        raise SecretFileError(f"{variable}_FILE names {path}, which is empty: put the secret into it.")
    return text
