"""Reads `CREATE TABLE … ENGINE = Kafka` and writes the statement that creates its stand-in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from uuid import uuid4

from ddl.quoting import quote_name, quote_string
from deploy.embedded.clickhouse.endpoint import SINKS, TABLE_HEADER
from deploy.embedded.clickhouse.errors import NOT_IMPLEMENTED, UNKNOWN_SETTING, refusal
from deploy.embedded.clickhouse.sql.tokens import Token, scan

_BAD_ARGUMENTS = 36
_DEFAULT_FLUSH_MS = 7_500
_POSITIONAL = ("kafka_broker_list", "kafka_topic_list", "kafka_group_name", "kafka_format")
# Settings: https://clickhouse.com/docs/engines/table-engines/integrations/kafka. The stand-in honours the first group.
# The second has no meaning for it: it has one consumer, and each message is a row.
_HONOURED = frozenset(
    {
        *_POSITIONAL,
        "kafka_client_id",
        "kafka_max_block_size",
        "kafka_flush_interval_ms",
        "kafka_max_rows_per_message",
        "kafka_handle_error_mode",
        "kafka_security_protocol",
        "kafka_sasl_mechanism",
        "kafka_sasl_username",
        "kafka_sasl_password",
        "kafka_compression_codec",
        "kafka_compression_level",
    }
)
_WITHOUT_MEANING = frozenset(
    {
        "kafka_num_consumers",
        "kafka_thread_per_consumer",
        "kafka_poll_timeout_ms",
        "kafka_poll_max_batch_size",
        "kafka_skip_broken_messages",
        "kafka_commit_every_batch",
        "kafka_commit_on_select",
        "kafka_row_delimiter",
        "kafka_consumers_pool_ttl_ms",
        "kafka_consumer_reschedule_ms",
        "kafka_autodetect_client_rack",
    }
)
# The node cuts a post into messages between any two rows, and compresses the messages itself. Blocks are small because
# a cut skips row by row through its block.
_FORMAT_OF_POSTS = {"output_format_avro_codec": "null", "output_format_avro_sync_interval": "4096"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "b": "\b", "f": "\f", "a": "\a", "v": "\v"}
# Names and types from the real engine: `DESCRIBE … SETTINGS describe_include_virtual_columns = 1`.
VIRTUAL_COLUMNS = {
    "_topic": "LowCardinality(String)",
    "_key": "String",
    "_offset": "UInt64",
    "_partition": "UInt64",
    "_timestamp": "Nullable(DateTime)",
    "_timestamp_ms": "Nullable(DateTime64(3))",
    "_headers.name": "Array(String)",
    "_headers.value": "Array(String)",
}
_ERROR_COLUMNS = {"_raw_message": "String", "_error": "String"}


class KafkaTableRole(Enum):
    """The direction of a Kafka table, which follows from its format: RawBLOB reads a topic, Avro writes one."""

    SOURCE = "RawBLOB"
    SINK = "Avro"


@dataclass(frozen=True)
class KafkaTable:
    """A Kafka table as its CREATE statement defines it.

    Attributes:
        statement: the statement, as the client wrote it.
        prefix: the text before the columns: `CREATE TABLE IF NOT EXISTS db.t`.
        columns: the column list, with parentheses.
        column_names: the names of the columns.
        settings: the `kafka_…` settings, positional arguments included; strings unquoted.
        format_settings: all other settings, which are the format's.
    """

    statement: str
    prefix: str
    columns: str
    column_names: tuple[str, ...]
    settings: Mapping[str, str]
    format_settings: Mapping[str, str]

    @property
    def role(self) -> KafkaTableRole:
        """Whether the table reads or writes its topics."""
        return KafkaTableRole(self.settings["kafka_format"])

    @property
    def topics(self) -> tuple[str, ...]:
        """The topics that the table reads, or the one that it writes."""
        return tuple(name.strip() for name in self.settings["kafka_topic_list"].split(",") if name.strip())

    @property
    def group(self) -> str:
        """The consumer group."""
        return self.settings["kafka_group_name"]

    @property
    def flush_ms(self) -> int:
        """How long a message may wait for others before they are inserted, ms."""
        return self.number("kafka_flush_interval_ms", _DEFAULT_FLUSH_MS)

    def number(self, name: str, default: int) -> int:
        """A numeric setting. 0 means the default, as with the engine."""
        return int(self.settings.get(name, "0")) or default

    def stand_in(self, prefix: str = "") -> str:
        """The statement that creates the stand-in. Its COMMENT is the original statement.

        A source is a Null table. The engine's virtual columns become MATERIALIZED ones, so that `SELECT *` leaves them
        out, as with the engine. An insert into it needs the setting `insert_allow_materialized_columns`. A sink posts
        each insert to the node (named collection `SINKS`) under a UUID that identifies the sink.

        Args:
            prefix: text to use instead of `self.prefix`.
        """
        comment = f"COMMENT {quote_string(self.statement)}"
        if self.role is KafkaTableRole.SINK:
            uuid = uuid4()
            formats = {**self.format_settings, **_FORMAT_OF_POSTS}
            settings = ", ".join(f"{name} = {quote_string(value)}" for name, value in formats.items())
            return (
                f"{prefix or self.prefix} UUID '{uuid}' {self.columns} "
                f"ENGINE = URL({SINKS}, headers('{TABLE_HEADER}' = '{uuid}')) SETTINGS {settings} {comment}"
            )
        virtual = ", ".join(
            f"{quote_name(name)} {kind} MATERIALIZED defaultValueOfTypeName({quote_string(kind)})"
            for name, kind in self._virtual().items()
        )
        return f"{self.prefix} {self.columns[:-1]}, {virtual}) ENGINE = Null {comment}"

    def _virtual(self) -> Mapping[str, str]:
        streams_errors = self.settings.get("kafka_handle_error_mode", "default") == "stream"
        return VIRTUAL_COLUMNS | (_ERROR_COLUMNS if streams_errors else {})


def parse_kafka_table(statement: str) -> KafkaTable | None:
    """Parse a statement; None if it does not create a Kafka table. The settings are not checked."""
    tokens = list(scan(statement))
    words = [token.upper for token in tokens[:6]]
    if not words or words[0] not in {"CREATE", "ATTACH"} or "TABLE" not in words:
        return None
    engine = next((i for i, token in enumerate(tokens) if token.upper == "ENGINE"), None)
    if engine is None or [token.upper for token in tokens[engine + 1 : engine + 3]][:2] != ["=", "KAFKA"]:
        return None
    opened = next((i for i, token in enumerate(tokens[:engine]) if token.text == "("), None)
    if opened is None:
        raise _bad(
            "A Kafka table needs its columns in parentheses: AS other_table is not supported by the embedded node"
        )
    columns = statement[tokens[opened].start : tokens[engine - 1].end]
    settings = dict(zip(_POSITIONAL, _arguments(tokens[engine + 3 :]), strict=False)) | _settings(tokens[engine + 3 :])
    return KafkaTable(
        statement=statement[: tokens[-1].start].rstrip() if tokens[-1].text == ";" else statement.strip(),
        prefix=statement[: tokens[opened].start].rstrip(),
        columns=columns,
        column_names=_column_names(tokens[opened:engine]),
        settings={name: value for name, value in settings.items() if name.startswith("kafka_")},
        format_settings={name: value for name, value in settings.items() if not name.startswith("kafka_")},
    )


def check(table: KafkaTable, known_settings: frozenset[str]) -> None:
    """Refuse settings and formats that the stand-in does not support. Call it before anything is created.

    Raises:
        EngineError: 36 for a missing or unusable setting, 115 for an unknown one, 48 for a format or mode that is not
            supported.
    """
    _check_names(table, known_settings)
    if table.settings["kafka_format"] not in {role.value for role in KafkaTableRole}:
        reason = (
            f"The embedded node supports Kafka tables of RawBLOB (read) and Avro (written), not "
            f"'{table.settings['kafka_format']}'. Use one of them, or a ClickHouse server."
        )
        raise refusal(NOT_IMPLEMENTED, "NOT_IMPLEMENTED", reason)
    if table.settings.get("kafka_handle_error_mode", "default") not in {"default", "stream"}:
        raise refusal(
            NOT_IMPLEMENTED,
            "NOT_IMPLEMENTED",
            "The embedded node supports kafka_handle_error_mode 'default' and 'stream' only",
        )
    if table.role is KafkaTableRole.SOURCE and len(table.column_names) != 1:
        raise _bad("A RawBLOB table has exactly one column")
    if table.role is KafkaTableRole.SINK and len(table.topics) != 1:
        raise _bad("A Kafka table that is written to needs exactly one topic")


def _check_names(table: KafkaTable, known_settings: frozenset[str]) -> None:
    for name in _POSITIONAL:
        if not table.settings.get(name):
            raise _bad(f"The Kafka engine needs {name}")
    for name in table.settings:
        if name not in _HONOURED | _WITHOUT_MEANING:
            raise refusal(UNKNOWN_SETTING, "UNKNOWN_SETTING", f"Unknown or unsupported Kafka setting '{name}'")
    for name in table.format_settings:
        if name not in known_settings:
            raise refusal(UNKNOWN_SETTING, "UNKNOWN_SETTING", f"Unknown setting '{name}'")


def _bad(reason: str) -> Exception:
    return refusal(_BAD_ARGUMENTS, "BAD_ARGUMENTS", reason)


def _arguments(tokens: Sequence[Token]) -> list[str]:
    if not tokens or tokens[0].text != "(":
        return []
    closing = next((i for i, token in enumerate(tokens) if token.text == ")"), len(tokens))
    return [_value(token) for token in tokens[1:closing] if token.text != ","]


def _settings(tokens: Sequence[Token]) -> dict[str, str]:
    start = next((i for i, token in enumerate(tokens) if token.upper == "SETTINGS"), None)
    found: dict[str, str] = {}
    index = len(tokens) if start is None else start + 1
    while index + 2 < len(tokens) and tokens[index].kind == "word" and tokens[index + 1].text == "=":
        signed = tokens[index + 2].text == "-"
        value = tokens[index + 2 + signed]
        found[tokens[index].text] = ("-" if signed else "") + _value(value)
        index += 3 + signed
        if index < len(tokens) and tokens[index].text == ",":
            index += 1
    return found


def _value(token: Token) -> str:
    if token.kind != "string" or not token.text.startswith("'"):
        return token.text
    return re.sub(r"\\(.)|''", lambda m: _ESCAPES.get(m[1], m[1]) if m[1] else "'", token.text[1:-1], flags=re.DOTALL)


def _column_names(tokens: Sequence[Token]) -> tuple[str, ...]:
    """Column names: the first word after the opening parenthesis, and after each comma at its level."""
    names: list[str] = []
    depth = 0
    for before, token in zip([None, *tokens], tokens, strict=False):
        if depth == 1 and before is not None and before.text in {"(", ","} and token.text != ")":
            names.append(token.text.strip('`"'))
        depth += (token.text == "(") - (token.text == ")")
    return tuple(names)
