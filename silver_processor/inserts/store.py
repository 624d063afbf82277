"""ClickHouse as the Silver processor uses it: idempotent inserts, ids seen, raw payloads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import clickhouse_connect
import polars as pl
import pyarrow as pa
from clickhouse_connect.driver.exceptions import ClickHouseError
from urllib3.exceptions import HTTPError

from config.connections import clickhouse_http
from config.settings import Settings
from schemas.kafka_time import bounded_ms
from schemas.records import SILVER
from silver_processor.batching.plan import MOST_ROWS
from silver_processor.retry import Patience
from silver_processor.seen.by_market import Market
from silver_processor.seen.held import accepted_versions, held_versions
from silver_processor.seen.index import SAME_TIME_US, SeenTrades
from silver_processor.seen.loading import NO_TOKEN, load, together
from silver_processor.seen.paused import PausedError

# A server that is away or refuses: the same request is sent again.
FAILURES: tuple[type[Exception], ...] = (ClickHouseError, HTTPError, OSError)
# Also of an answer that breaks off in the middle.
_STREAM = (*FAILURES, pa.ArrowException)
PAYLOAD_BYTES = 65_536
_PLACE = ["raw_topic", "raw_partition", "raw_offset", "published_at"]
_COORDINATES_A_QUERY = 500
# A server takes a parameter of 128 KiB; an id is of at most 256 bytes, each of which may be escaped.
_IDS_A_QUERY = 200
_TRADES = pa.schema([SILVER.field(name) for name in ("trade_id", "timestamp", "match_count")])


def _sql(name: str) -> str:
    return Path(__file__).with_name("sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


_IN_SILVER = _sql("in_silver")
_CORRECTED_MARKETS = _sql("corrected_markets")
_PAYLOADS = _sql("payloads")
_RULES = _sql("rules")
_SHARDS = _sql("shards")
_REDERIVED = _sql("rederived")
# What a constraint is called by which a re-derivation keeps a day's rows out while it replaces the day.
_PAUSE = "Constraint `publishing"
_LONGEST_EXCHANGE = 64
# Columns of an insert with few values among many rows.
_REPEATED = frozenset(
    ("exchange", "symbol", "side", "trade_kind", "exchange_symbol", "raw_topic", "insert_token", "rules_version")
)


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
            "deduplicate_insert": "enable",
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

    def load(self, seen: SeenTrades, markets: Sequence[Market], but_token: str = "") -> None:
        """Tell the index the markets' newest ids, less those of one insert; block by block, so in bounded memory.

        Markets with few rows are asked about together, one with many alone and about its newest ones only.
        """
        for some in together(self._select, markets):
            action = partial(load, self._ask, self._blocks, seen, some, but_token)
            self._patience.until_done("load the seen ids", action, _STREAM)

    def in_silver(self, rows: pa.Table, but_token: str = "") -> pa.Table:
        """Silver's trades (trade_id, timestamp, match_count) that have a match in common with rows (exchange, symbol,
        trade_id, timestamp, match_count) of one market, and perhaps others; less the rows of one insert."""
        frame = pl.DataFrame(rows)
        found = [_TRADES.empty_table()]
        # Side by side in time, each question touches little of the table.
        for part in _questions(frame.sort("timestamp")):
            times = part["timestamp"].to_physical().to_numpy()
            parameters = {
                "exchange": part["exchange"][0],
                "symbol": part["symbol"][0],
                "token": but_token or NO_TOKEN,
                "earliest": int(times.min()) - SAME_TIME_US,
                "latest": int(times.max()) + SAME_TIME_US,
                **_ids(part),
            }
            found.append(self._select(_IN_SILVER, parameters).cast(_TRADES))
        return pa.concat_tables(found)

    def versions(self, rows: pa.Table) -> pl.DataFrame:
        """What Silver holds of the trades of these rows (see `silver_processor.seen.held.held_versions`)."""
        return held_versions(self._select, rows)

    def corrections(self, rows: pa.Table) -> pl.DataFrame:
        """What was accepted of the trades of these rows (see `silver_processor.seen.held.accepted_versions`)."""
        return accepted_versions(self._select, rows)

    def corrected_markets(self, exchanges: Sequence[str]) -> list[Market]:
        """The markets of these exchanges of which another version of a trade was accepted."""
        found = self._select(_CORRECTED_MARKETS, {"exchanges": list(exchanges)}).to_pylist()
        return [(str(row["exchange"]), str(row["symbol"])) for row in found]

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


def _questions(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """Rows in their order, in parts of about `_IDS_A_QUERY` ids of matches; one of more matches is alone."""
    matches = rows["match_count"].cast(pl.Int64)
    number, is_long = (matches.cum_sum() - 1) // _IDS_A_QUERY, matches > _IDS_A_QUERY
    return rows.with_columns(question=number, long=is_long).partition_by("question", "long", maintain_order=True)


def _ids(rows: pl.DataFrame) -> dict[str, Any]:
    """The ids of all matches of trades (of an id that is no number its own) as parameters of `in_silver.sql`."""
    lasts, counts = rows["trade_id"].to_list(), rows["match_count"].to_list()
    ranges = [
        range(int(last) - count + 1, int(last) + 1)
        for last, count in zip(lasts, counts, strict=True)
        if last.isascii() and last.isdigit() and int(last) < 2**64
    ]
    low, high = max(min((one[0] for one in ranges), default=1), 0), max((one[-1] for one in ranges), default=0)
    if rows["long"][0]:
        return {"ids": lasts, "first": low, "last": high, "low": low, "high": high}
    ids = {*lasts, *(str(number) for one in ranges if len(one) > 1 for number in one)}
    return {"ids": sorted(ids), "first": 1, "last": 0, "low": low, "high": high}


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
