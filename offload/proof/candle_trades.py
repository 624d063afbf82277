"""Finds the trades of a candle, with their raw messages and Iceberg files."""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from decimal import Decimal

import polars as pl
from pydantic import BaseModel, ConfigDict
from pyiceberg.expressions import And

from offload.clickhouse.client import HotStore, Parameters
from offload.clickhouse.templates import render
from offload.proof.cold_rows import ColdRows, equals, in_span, one_of, text_of
from offload.tables.slices import micros
from schemas.coordinates import COORDINATES
from schemas.kinds import COUNTED

# Long candles are read an hour at a time, so memory does not grow with their length.
_SLICE = timedelta(hours=1)
# Payloads in one query: of ClickHouse, and of Iceberg, where each query opens the files again.
_PAGE_ROWS, _COLD_PAGE_ROWS = 200, 20_000
_ORDER = ("timestamp", "sequence", "trade_id")
_COLUMNS = (
    *("trade_id", "timestamp", "sequence", "price", "quantity", "side", "trade_kind", "match_count"),
    *(*COORDINATES, "ingested_at"),
)
# By topic, partition, offset and Kafka time (ms) of the raw message.
_Payloads = dict[tuple[str, int, int, int], str]


class CandleTrade(BaseModel):
    """One trade of Silver in the candle's window.

    `is_counted`: the candle counts trades of this kind. `payload`: the exchange's own text; "" if neither tier has the
    raw message any more. `file` and `snapshot_id`: where Iceberg has the row; "" and null if only ClickHouse has it.
    """

    model_config = ConfigDict(frozen=True)

    trade_id: str
    timestamp: datetime
    price: Decimal
    quantity: Decimal
    side: str
    trade_kind: str
    match_count: int
    is_counted: bool
    raw_topic: str
    raw_partition: int
    raw_offset: int
    payload: str
    file: str
    snapshot_id: int | None


class OffsetSpan(BaseModel):
    """The raw messages of one Kafka partition that trades come from: first and last offset, and number of trades."""

    model_config = ConfigDict(frozen=True)

    raw_topic: str
    raw_partition: int
    first: int
    last: int
    trades: int


class ColdFile(BaseModel):
    """A file of `cold.silver_trades` with trades of the candle, and the snapshot that added it (null: expired)."""

    model_config = ConfigDict(frozen=True)

    file: str
    snapshot_id: int | None
    trades: int


class CandleTrades(BaseModel):
    """A summary of the trades in the window of a candle.

    `counted`: trades that the candle counts; `matches`: the matches in them, which is the candle's `trade_count`.
    `not_counted`: trades of other kinds. `first` and `last`: counted trades, in the order of Silver. `only_hot`: trades
    that Iceberg does not have yet.
    """

    model_config = ConfigDict(frozen=True)

    counted: int
    matches: int
    not_counted: int
    only_hot: int
    first: CandleTrade | None
    last: CandleTrade | None
    offsets: tuple[OffsetSpan, ...]
    files: tuple[ColdFile, ...]


class TradesOfCandle:
    """Finds the trades of one market in a window, in both tiers. A trade that is in both tiers is shown once.

    Raises (every method):
        OffloadError: ClickHouse or the warehouse fails.
    """

    def __init__(
        self, hot: HotStore, cold: ColdRows, exchange: str, symbol: str, start: datetime, length: timedelta
    ) -> None:
        self._hot, self._cold = hot, cold
        self._exchange, self._symbol, self._start, self._end = exchange, symbol, start, start + length

    def summary(self) -> CandleTrades:
        """Count the trades, and give the first and the last one, their offsets and their files."""
        totals: Counter[str] = Counter()
        offsets: dict[tuple[str, int], OffsetSpan] = {}
        files: dict[str, ColdFile] = {}
        first, last = None, None
        for trades in self._slices():
            counted = trades.filter("is_counted")
            totals["counted"] += counted.height
            totals["matches"] += int(counted["match_count"].sum())
            totals["not_counted"] += trades.height - counted.height
            totals["only_hot"] += trades.filter(pl.col("file") == "").height
            if counted.height:
                first, last = counted.head(1) if first is None else first, counted.tail(1)
            _add_offsets(offsets, trades)
            _add_files(files, trades)
        return CandleTrades(
            counted=totals["counted"],
            matches=totals["matches"],
            not_counted=totals["not_counted"],
            only_hot=totals["only_hot"],
            first=None if first is None else next(self._with_payloads(first)),
            last=None if last is None else next(self._with_payloads(last)),
            offsets=tuple(offsets[place] for place in sorted(offsets)),
            files=tuple(files[path] for path in sorted(files)),
        )

    def lacks_hot(self) -> bool:
        """Whether ClickHouse has a trade that Iceberg lacks."""
        return any(trades.filter(pl.col("file") == "").height for trades in self._slices())

    def all(self) -> Iterator[CandleTrade]:
        """Every trade in the order of Silver, with its payload."""
        for trades in self._slices():
            yield from self._with_payloads(trades)

    def _slices(self) -> Iterator[pl.DataFrame]:
        start = self._start
        while start < self._end:
            end = min(start + _SLICE, self._end)
            yield self._trades(start, end)
            start = end

    def _trades(self, start: datetime, end: datetime) -> pl.DataFrame:
        """The trades of a span in the order of Silver, each once."""
        of_market = And(equals("exchange", self._exchange), equals("symbol", self._symbol))
        cold = self._cold.frame("silver_trades", And(of_market, in_span("timestamp", start, end)), _COLUMNS)
        hot = self._hot_trades(start, end).cast({name: cold.schema[name] for name in _COLUMNS})
        places = cold.select("trade_id", "file", "snapshot_id")
        both = pl.concat(
            [
                hot.join(places, on="trade_id", how="left").with_columns(pl.col("file").fill_null("")),
                cold.join(hot, on="trade_id", how="anti"),
            ]
        )
        return both.with_columns(pl.col("trade_kind").is_in(COUNTED).alias("is_counted")).sort(_ORDER)

    def _hot_trades(self, start: datetime, end: datetime) -> pl.DataFrame:
        span: Parameters = {
            "exchange": self._exchange,
            "symbol": self._symbol,
            "start_us": micros(start),
            "end_us": micros(end),
        }
        with self._hot.parquet(render("trace_candle_trades.sql"), span) as chunks:
            return pl.read_parquet(b"".join(chunks)).select(_COLUMNS)

    def _with_payloads(self, trades: pl.DataFrame) -> Iterator[CandleTrade]:
        for batch in trades.iter_slices(_COLD_PAGE_ROWS):
            cold: _Payloads | None = None
            for page in batch.iter_slices(_PAGE_ROWS):
                hot = self._hot_payloads(page)
                for row in page.iter_rows(named=True):
                    place = (row["raw_topic"], row["raw_partition"], row["raw_offset"], _millis(row["published_at"]))
                    payload = hot.get(place)
                    if payload is None:
                        cold = self._cold_payloads(batch) if cold is None else cold
                        payload = cold.get(place, "")
                    yield CandleTrade(
                        **{name: row[name] for name in CandleTrade.model_fields if name != "payload"}, payload=payload
                    )

    def _hot_payloads(self, page: pl.DataFrame) -> _Payloads:
        first, last = _span(page)
        parameters: Parameters = {
            "exchange": self._exchange,
            "from_us": micros(first),
            "to_us": micros(last),
            "offsets": [str(offset) for offset in page["raw_offset"].to_list()],
        }
        payloads = {}
        for row in self._hot.rows(render("trace_payloads.sql"), parameters):
            place = (row["raw_topic"], int(row["raw_partition"]), int(row["raw_offset"]), int(row["published_ms"]))
            payloads[place] = payload_of(text_of(row["raw_json"]))
        return payloads

    def _cold_payloads(self, batch: pl.DataFrame) -> _Payloads:
        first, last = _span(batch)
        wanted = And(
            one_of("raw_topic", batch["raw_topic"].unique().to_list()),
            one_of("raw_offset", batch["raw_offset"].unique().to_list()),
            in_span("ingested_at", first, last + timedelta(microseconds=1)),
        )
        rows = self._cold.frame("raw_trades", wanted, (*COORDINATES, "raw_json"))
        return {
            (topic, partition, offset, _millis(published)): payload_of(text_of(message))
            for topic, partition, offset, published, message in rows.select(*COORDINATES, "raw_json").iter_rows()
        }


def _span(trades: pl.DataFrame) -> tuple[datetime, datetime]:
    """When the first and the last raw message of the trades arrived."""
    first, last = trades["ingested_at"].min(), trades["ingested_at"].max()
    assert isinstance(first, datetime)
    assert isinstance(last, datetime)
    return first, last


def payload_of(message: str) -> str:
    """The exchange's own text in a raw message; the whole message if it has no payload."""
    try:
        envelope = json.loads(message)
    except (ValueError, RecursionError):
        return message
    payload = envelope.get("payload") if isinstance(envelope, dict) else None
    if not isinstance(payload, str):
        return message
    if envelope.get("payload_encoding") == "base64":
        return base64.b64decode(payload).decode("utf-8", "backslashreplace")
    return payload


def _add_offsets(known: dict[tuple[str, int], OffsetSpan], trades: pl.DataFrame) -> None:
    groups = trades.group_by("raw_topic", "raw_partition").agg(
        pl.col("raw_offset").min().alias("first"), pl.col("raw_offset").max().alias("last"), pl.len().alias("trades")
    )
    for topic, partition, first, last, number in groups.iter_rows():
        before = known.get((topic, partition))
        known[topic, partition] = OffsetSpan(
            raw_topic=topic,
            raw_partition=partition,
            first=min(first, before.first) if before else first,
            last=max(last, before.last) if before else last,
            trades=number + (before.trades if before else 0),
        )


def _add_files(known: dict[str, ColdFile], trades: pl.DataFrame) -> None:
    groups = trades.filter(pl.col("file") != "").group_by("file", "snapshot_id").len()
    for path, snapshot_id, number in groups.iter_rows():
        before = known[path].trades if path in known else 0
        known[path] = ColdFile(file=path, snapshot_id=snapshot_id, trades=before + number)


def _millis(moment: datetime) -> int:
    return micros(moment) // 1000
