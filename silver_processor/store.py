"""ClickHouse as the Silver processor uses it: idempotent inserts, ids seen, raw payloads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
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
from silver_processor.patience import Patience
from silver_processor.plan import MOST_ROWS
from silver_processor.seen import Market

# A server that is away or refuses: the same request is sent again.
FAILURES: tuple[type[Exception], ...] = (ClickHouseError, HTTPError, OSError)
PAYLOAD_BYTES = 65_536
_COORDINATES_A_QUERY = 500


def _sql(name: str) -> str:
    return Path(__file__).with_name("sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


_SEEN = _sql("seen")
_IN_SILVER = _sql("in_silver")
_DELIVERED = _sql("delivered")
_PAYLOADS = _sql("payloads")
_RULES = _sql("rules")
_LONGEST_EXCHANGE = 64


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

    def insert(self, table: str, rows: pa.Table, token: str) -> None:
        """Insert as one block whose token lets the server drop or complete what it has already."""
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
            self._connection().raw_insert(
                table, column_names=rows.column_names, insert_block=body, settings=settings, fmt="ArrowStream"
            )

        self._patience.until_done(f"insert into {table}", post, FAILURES)

    def seen(self, markets: Sequence[Market], but_token: str = "") -> Iterator[pa.Table]:
        """Ids that Silver holds of each market (exchange, symbol, trade_id, timestamp), less those of one insert."""
        for exchange, symbol in markets:
            parameters = {"exchange": exchange, "symbol": symbol, "token": but_token or "-"}
            yield self._select(_SEEN, parameters)

    def in_silver(self, rows: pa.Table) -> npt.NDArray[np.bool_]:
        """For each row (exchange, symbol, trade_id, timestamp) of one market, whether Silver holds its id."""
        frame = pl.DataFrame(rows)
        times = frame["timestamp"].to_physical()
        parameters = {
            "exchange": frame["exchange"][0],
            "symbol": frame["symbol"][0],
            "earliest": times.min(),
            "latest": times.max(),
        }
        held = pl.DataFrame(self._select(_IN_SILVER, parameters))["trade_id"].cast(pl.String)
        return frame["trade_id"].is_in(held.implode()).to_numpy()

    def delivered(self, again: pa.Table) -> npt.NDArray[np.bool_]:
        """For each row (schema `SILVER`), whether Silver holds this very raw message, by its coordinates."""
        place = ["raw_topic", "raw_partition", "raw_offset", "published_at"]
        frame = pl.DataFrame(again.select(["exchange", "symbol", "timestamp", *place])).with_row_index("row")
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
            stored = pl.DataFrame(self._select(_DELIVERED, parameters)).cast(part.select(place).schema)
            held[part.join(stored, on=place, how="semi")["row"].to_numpy()] = True
        return held

    def payloads(self, rejects: pa.Table) -> dict[Coordinates, Payload]:
        """The raw messages of rejected rows, as far as trades_raw has them."""
        found: dict[Coordinates, Payload] = {}
        frame = pl.DataFrame(rejects.select(["exchange", "raw_topic", "raw_partition", "raw_offset", "ingested_at"]))
        for (topic, partition), part in frame.group_by("raw_topic", "raw_partition", maintain_order=True):
            for piece in part.sort("raw_offset").iter_slices(_COORDINATES_A_QUERY):
                answer = self._select(_PAYLOADS, _payload_parameters(str(topic), partition, piece), text=False)
                for row in answer.to_pylist():
                    place = (str(topic), int(str(partition)), row["_offset"], row["published_ms"])
                    found[place] = Payload(row["payload"], row["payload_bytes"])
        return found

    def keep_rules(self, version: str, document: str) -> None:
        """Keep the content of a rules version; once is enough."""
        if self.rules_document(version) is None:
            rows = pa.table({"rules_version": [version], "document": [document]})
            self.insert("rules_versions", rows, token=version)

    def rules_document(self, version: str) -> str | None:
        """The content of a rules version, or None where none was kept."""
        found = self._select(_RULES, {"version": version})["document"].to_pylist()
        return str(found[0]) if found else None

    def _select(self, query: str, parameters: dict[str, Any], *, text: bool = True) -> pa.Table:
        settings = {"output_format_arrow_string_as_string": int(text), "output_format_arrow_compression_method": "none"}

        def ask() -> pa.Table:
            body = self._connection().raw_query(query, parameters=parameters, fmt="ArrowStream", settings=settings)
            return pa.ipc.open_stream(body).read_all()

        return self._patience.until_done("read from ClickHouse", ask, FAILURES)

    def _connection(self) -> Any:
        if self._client is None:
            self._client = clickhouse_connect.get_client(**clickhouse_http(self._settings))
        return self._client


def _arrow_stream(rows: pa.Table) -> bytes:
    """The table as one record batch, so that the server makes one block of it."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema) as writer:
        writer.write_table(rows.combine_chunks())
    return bytes(sink.getvalue())


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
