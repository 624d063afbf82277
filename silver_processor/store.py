"""ClickHouse as the Silver processor uses it: idempotent inserts, ids seen, raw payloads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import clickhouse_connect
import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from config.connections import clickhouse_http
from config.settings import Settings
from schemas.kafka_time import bounded_ms
from silver_processor.by_market import Market
from silver_processor.patience import Patience
from silver_processor.paused import PausedError
from silver_processor.plan import MOST_ROWS
from silver_processor.seen import SeenTrades

# A server that is away or refuses: the same request is sent again.
FAILURES: tuple[type[Exception], ...] = (ClickHouseError, HTTPError, OSError)
# Also of an answer that breaks off in the middle.
_STREAM = (*FAILURES, pa.ArrowException)
PAYLOAD_BYTES = 65_536
_PLACE = ["raw_topic", "raw_partition", "raw_offset", "published_at"]
_COORDINATES_A_QUERY = 500
# A server takes a parameter of 128 KiB; an id is of at most 256 bytes, each of which may be escaped.
_IDS_A_QUERY = 200
# Of each market, the newest: enough for what exchanges send again. Older rows are asked of Silver.
IDS_LOADED = 250_000
# No insert has this token; no trade is as old (µs).
_NO_TOKEN = "-"  # noqa: S105
_BEFORE_ALL = 0


def _sql(name: str) -> str:
    return Path(__file__).with_name("sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


_SEEN = _sql("seen")
_HORIZON = _sql("horizon")
_IN_SILVER = _sql("in_silver")
_DELIVERED = _sql("delivered")
_PAYLOADS = _sql("payloads")
_RULES = _sql("rules")
_SHARDS = _sql("shards")
_REDERIVED = _sql("rederived")
# What a constraint is called by which a re-derivation keeps a day's rows out while it replaces the day.
_PAUSE = "Constraint `publishing"
_LONGEST_EXCHANGE = 64
# Columns of an insert with few values among many rows.
_REPEATED = frozenset(("exchange", "symbol", "side", "exchange_symbol", "raw_topic", "insert_token", "rules_version"))


@dataclass(frozen=True, slots=True)
class Payload:
    """A raw message's first `PAYLOAD_BYTES` bytes and its full length."""

    head: bytes
    size: int


# (raw_topic, raw_partition, raw_offset, published_at ms)
Coordinates = tuple[str, int, int, int]


class Store:
    """A connection that waits for the server: every method tries until done.

    Raises (every method):
        StoppedError: the worker stops.
    """

    def __init__(self, settings: Settings, patience: Patience) -> None:
        self._settings = settings
        self._patience = patience
        self._client: Any = None

    def insert(self, table: str, rows: pa.Table, token: str, before_request: Callable[[], None] | None = None) -> None:
        """Insert as one block whose token lets the server drop or complete what it has already.

        `before_request` runs before every attempt; what it raises ends them.

        Raises:
            PausedError: a day of the rows is being replaced by a re-derivation.
        """
        body = _arrow_stream(rows)
        settings = {
            "insert_deduplicate": 1,
            "insert_deduplication_token": token,
            "deduplicate_blocks_in_dependent_materialized_views": 1,
            "max_partitions_per_insert_block": 0,
            "async_insert": 0,
            "max_insert_block_size": MOST_ROWS,
            "min_insert_block_size_rows": MOST_ROWS,
            "min_insert_block_size_bytes": 0,
        }

        def post() -> None:
            if before_request is not None:
                before_request()
            try:
                self._connection().raw_insert(
                    table, column_names=rows.column_names, insert_block=body, settings=settings, fmt="ArrowStream"
                )
            except ClickHouseError as error:
                if _PAUSE in str(error):
                    raise PausedError(str(error)) from error
                raise

        self._patience.until_done(f"insert into {table}", post, FAILURES)

    def load(self, seen: SeenTrades, market: Market, but_token: str = "") -> None:
        """Tell the index the market's newest ids, less those of one insert; block by block, so in bounded memory."""
        asked = {"exchange": market[0], "symbol": market[1]}

        def read() -> None:
            older = self._ask(_HORIZON, asked | {"most": IDS_LOADED})["horizon"].to_pylist()
            horizon = older[0] if older else None
            since = {"token": but_token or _NO_TOKEN, "after": _BEFORE_ALL if horizon is None else horizon}
            seen.load(market, self._blocks(_SEEN, asked | since), horizon)

        self._patience.until_done("load the seen ids", read, _STREAM)

    def in_silver(self, rows: pa.Table, but_token: str = "") -> npt.NDArray[np.bool_]:
        """For each row (exchange, symbol, trade_id, timestamp) of one market, whether Silver holds its id, less the
        rows of one insert."""
        frame = pl.DataFrame(rows).with_row_index("row")
        held = np.zeros(frame.height, dtype=np.bool_)
        # Side by side in time, each question touches little of the table.
        for part in frame.sort("timestamp").iter_slices(_IDS_A_QUERY):
            times = part["timestamp"].to_physical()
            parameters = {
                "exchange": part["exchange"][0],
                "symbol": part["symbol"][0],
                "token": but_token or _NO_TOKEN,
                "earliest": times.min(),
                "latest": times.max(),
                "ids": part["trade_id"].to_list(),
            }
            found = pl.DataFrame(self._select(_IN_SILVER, parameters))["trade_id"].cast(pl.String)
            held[part["row"].to_numpy()] = part["trade_id"].is_in(found.implode()).to_numpy()
        return held

    def delivered(self, again: pa.Table) -> npt.NDArray[np.bool_]:
        """For each row (schema `SILVER`), whether Silver holds this very raw message, by its coordinates."""
        frame = pl.DataFrame(again.select(["exchange", "symbol", "timestamp", *_PLACE])).with_row_index("row")
        held = np.zeros(again.num_rows, dtype=np.bool_)
        for (exchange, symbol), part in frame.group_by("exchange", "symbol"):
            times = part["timestamp"].to_physical()
            parameters = {
                "exchange": exchange,
                "symbol": symbol,
                "earliest": times.min(),
                "latest": times.max(),
                "first": part["raw_offset"].min(),
                "last": part["raw_offset"].max(),
            }
            ask = partial(self._matches, part, parameters)
            held[self._patience.until_done("read from ClickHouse", ask, _STREAM)] = True
        return held

    def _matches(self, rows: pl.DataFrame, parameters: dict[str, Any]) -> list[int]:
        """Numbers of the rows that Silver holds by raw coordinates; block by block, since a span may hold many."""
        found: list[int] = []
        for block in self._blocks(_DELIVERED, parameters):
            stored = pl.DataFrame(block).cast(rows.select(_PLACE).schema)
            found += rows.join(stored, on=_PLACE, how="semi")["row"].to_list()
        return found

    def payloads(self, rejects: pa.Table) -> dict[Coordinates, Payload]:
        """The raw messages of rejected rows, as far as trades_raw has them."""
        found: dict[Coordinates, Payload] = {}
        frame = pl.DataFrame(rejects.select(["exchange", "raw_topic", "raw_partition", "raw_offset", "ingested_at"]))
        for (topic, partition), part in frame.group_by("raw_topic", "raw_partition", maintain_order=True):
            for piece in part.sort("raw_offset").iter_slices(_COORDINATES_A_QUERY):
                answer = self._select(_PAYLOADS, _payload_parameters(str(topic), partition, piece), text=False)
                for row in answer.to_pylist():
                    place = (str(topic), int(str(partition)), row["_offset"], bounded_ms(row["published_ms"]))
                    found[place] = Payload(row["payload"], row["payload_bytes"])
        return found

    def shards_of(self, names: Sequence[tuple[str, str]], shards: int) -> list[int]:
        """The Bronze shard of each (exchange, symbol), by the expression of the DDL (0003_bronze_stream.sql)."""
        exchanges, symbols = ([name[part] for name in names] for part in (0, 1))
        found = self._select(_SHARDS, {"exchanges": exchanges, "symbols": symbols, "shards": shards})
        return [int(shard) for shard in found["shards"][0].as_py()]

    def keep_rules(self, version: str, document: str) -> None:
        """Keep the content of a rules version; once is enough."""
        if self.rules_document(version) is None:
            rows = pa.table({"rules_version": [version], "document": [document]})
            self.insert("rules_versions", rows, token=version)

    def rules_document(self, version: str) -> str | None:
        """The content of a rules version, or None where none was kept."""
        found = self._select(_RULES, {"version": version})["document"].to_pylist()
        return str(found[0]) if found else None

    def rederived(self) -> dict[str, int]:
        """By exchange, how often one of its days was replaced by a re-derivation."""
        found = self._select(_REDERIVED, {}).to_pylist()
        return {str(row["exchange"]): int(row["switches"]) for row in found}

    def _select(self, query: str, parameters: dict[str, Any], *, text: bool = True) -> pa.Table:
        return self._patience.until_done(
            "read from ClickHouse", lambda: self._ask(query, parameters, text=text), FAILURES
        )

    def _ask(self, query: str, parameters: dict[str, Any], *, text: bool = True) -> pa.Table:
        body = self._connection().raw_query(query, parameters=parameters, fmt="ArrowStream", settings=_arrow(text))
        return pa.ipc.open_stream(body).read_all()

    def _blocks(self, query: str, parameters: dict[str, Any]) -> Iterator[pa.Table]:
        """The answer as it comes.

        Raises:
            ClickHouseError, HTTPError, OSError, pa.ArrowException: it broke off.
        """
        stream = self._connection().raw_stream(query, parameters=parameters, fmt="ArrowStream", settings=_arrow(True))
        with contextlib.closing(stream), pa.ipc.open_stream(stream) as reader:
            for batch in reader:
                yield pa.Table.from_batches([batch])

    def _connection(self) -> Any:
        if self._client is None:
            self._client = clickhouse_connect.get_client(**clickhouse_http(self._settings))
        return self._client


def _arrow(text: bool) -> dict[str, Any]:
    return {"output_format_arrow_string_as_string": int(text), "output_format_arrow_compression_method": "none"}


def _arrow_stream(rows: pa.Table) -> pa.Buffer:
    """The table as one record batch, so that the server makes one block of it; texts that repeat are sent once."""
    for place, field in enumerate(rows.schema):
        if field.name in _REPEATED:
            column = rows.column(place).combine_chunks().dictionary_encode()
            rows = rows.set_column(place, field.name, column)
    rows = rows.combine_chunks()
    # Measured first: a stream that grows is copied several times.
    size = pa.MockOutputStream()
    _write_stream(rows, size)
    body = pa.allocate_buffer(size.size())
    _write_stream(rows, pa.FixedSizeBufferWriter(body))
    return body


def _write_stream(rows: pa.Table, sink: pa.NativeFile) -> None:
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows)


def _payload_parameters(topic: str, partition: object, rows: pl.DataFrame) -> dict[str, Any]:
    exchanges = rows["exchange"].unique().sort().to_list()
    # A garbled message may carry anything as its exchange: the primary key helps with ordinary codes only.
    any_exchange = any(len(exchange) > _LONGEST_EXCHANGE for exchange in exchanges)
    times = rows["ingested_at"].to_physical()
    return {
        "most": PAYLOAD_BYTES,
        "any_exchange": int(any_exchange),
        "exchanges": [] if any_exchange else exchanges,
        "earliest": times.min(),
        "latest": times.max(),
        "topic": topic,
        "partition": partition,
        "offsets": rows["raw_offset"].unique().to_list(),
    }
