"""Reads trades that ClickHouse holds: the newest ids of markets, single trades, their versions, and corrections.

Where it can, a query names one market and a short span of time, so that it reads little of the table.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from config.valid_times import EARLIEST_US, END_US
from schemas.records import SILVER
from silver_processor.clickhouse import ClickHouse
from silver_processor.core.matches import SAME_TIME_US
from silver_processor.core.versions import HELD, IDENTITY, versions_of
from silver_processor.seen.by_market import Market

# So many of a market's newest ids are loaded. Exchanges send only recent trades again. Older ones are looked up.
LOADED_IDS = 250_000
# No insert has this token.
_NO_TOKEN = "-"  # noqa: S105
# A server accepts a parameter of 128 KiB. An id has at most 256 bytes, and each of them may be escaped.
_IDS_A_QUERY = 200
_MARKETS_A_QUERY = 1_000
_ID_BYTES_A_QUERY = 100_000
# A decimal number without leading zeros. The cast tells whether it is below 2^64.
_NUMBER = r"^(?:0|[1-9][0-9]{0,19})$"
_TRADES = pa.schema([SILVER.field(name) for name in ("trade_id", "timestamp", "match_count")])


def _sql(name: str) -> str:
    return Path(__file__).with_name("sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")


_LOADED = _sql("loaded")
_HORIZON = _sql("horizon")
_ESTIMATED_ROWS = _sql("estimated_rows")
_OVERLAPPING = _sql("overlapping")
_VERSIONS = _sql("versions")
_VERSIONS_SUMMED = _sql("versions_summed")
_CORRECTIONS = _sql("corrections")
_CORRECTED_MARKETS = _sql("corrected_markets")
_REDERIVED = _sql("rederived")

# Takes markets, blocks of their trades after the horizon, and that horizon (µs; None: the blocks have all trades).
Learn = Callable[[Sequence[Market], Iterable[pa.Table], int | None], None]


class HeldTrades:
    """Queries about the trades in ClickHouse.

    Raises (every method):
        WorkerStoppedError: the worker stops.
    """

    def __init__(self, clickhouse: ClickHouse) -> None:
        self._clickhouse = clickhouse

    def load(self, markets: Sequence[Market], learn: Learn, excluded_token: str = "") -> None:
        """Pass to `learn` the newest trades that Silver holds of the markets, without those of one insert.

        Markets with few rows are read together. Of a market with many rows only the newest `LOADED_IDS` are read.
        `excluded_token`: the token of the insert that is left out.
        """
        for together in self._parts(markets):
            horizon = self._horizon(together[0]) if len(together) == 1 else None
            parameters = {
                "markets": list(together),
                "token": excluded_token or _NO_TOKEN,
                "after": EARLIEST_US if horizon is None else horizon,
            }
            self._clickhouse.read_blocks(_LOADED, parameters, _consumer(learn, together, horizon))

    def overlapping(self, rows: pa.Table, excluded_token: str = "") -> pa.Table:
        """Silver's trades (trade_id, timestamp, match_count) that share a match with one of the rows.

        `rows` (exchange, symbol, trade_id, timestamp, match_count) are of one market. The result may have more trades.
        Trades of the insert `excluded_token` are left out.
        """
        found = [_TRADES.empty_table()]
        for part in _lookups(pl.DataFrame(rows).sort("timestamp")):
            times = part["timestamp"].to_physical().to_numpy()
            parameters = {
                "exchange": part["exchange"][0],
                "symbol": part["symbol"][0],
                "token": excluded_token or _NO_TOKEN,
                "earliest": int(times.min()) - SAME_TIME_US,
                "latest": int(times.max()) + SAME_TIME_US,
                **_match_ids(part),
            }
            found.append(self._clickhouse.select(_OVERLAPPING, parameters).cast(_TRADES))
        return pa.concat_tables(found)

    def versions(self, rows: pa.Table) -> pl.DataFrame:
        """The versions that Silver holds of the trades of these rows (exchange, symbol, trade_id, timestamp): `HELD`.

        A trade is looked up at its own time first: by its id, then as a match of a trade that sums up several. If that
        finds nothing, it is looked up at all times, because another version may have another time. A summed trade that
        contains the match is returned under the id of the match.
        """
        missing, found = _wanted(rows), [HELD.to_frame()]
        for margin_us in (SAME_TIME_US, None):
            for look_up in (self._by_id, self._summed):
                found.append(look_up(missing, margin_us))
                missing = missing.join(found[-1], on=IDENTITY, how="anti")
        return pl.concat(found)

    def corrections(self, rows: pa.Table) -> pl.DataFrame:
        """The accepted versions of the trades of these rows (exchange, symbol, trade_id, timestamp): `HELD`."""
        return self._select_versions(_CORRECTIONS, _wanted(rows), None)

    def corrected_markets(self, exchanges: Sequence[str]) -> list[Market]:
        """The markets of these exchanges that have a correction."""
        rows = self._clickhouse.select(_CORRECTED_MARKETS, {"exchanges": list(exchanges)}).to_pylist()
        return [(str(row["exchange"]), str(row["symbol"])) for row in rows]

    def rederivations(self) -> dict[str, int]:
        """How many days re-derivations have replaced, by exchange. A day counts each time it is replaced."""
        rows = self._clickhouse.select(_REDERIVED, {}).to_pylist()
        return {str(row["exchange"]): int(row["switches"]) for row in rows}

    def _parts(self, markets: Sequence[Market]) -> Iterator[Sequence[Market]]:
        """The markets in parts. A part is one market, or several that have few rows together."""
        if len(markets) > _MARKETS_A_QUERY or (len(markets) > 1 and self._estimated_rows(markets) > LOADED_IDS):
            half = len(markets) // 2
            yield from self._parts(markets[:half])
            yield from self._parts(markets[half:])
        elif markets:
            yield markets

    def _estimated_rows(self, markets: Sequence[Market]) -> int:
        """Upper bound on the markets' rows, from the table's primary index."""
        return sum(self._clickhouse.select(_ESTIMATED_ROWS, {"markets": list(markets)})["rows"].to_pylist())

    def _horizon(self, market: Market) -> int | None:
        """The time (µs) of the newest trade that is not loaded; None if all trades are."""
        parameters = {"exchange": market[0], "symbol": market[1], "most": LOADED_IDS}
        horizons = self._clickhouse.select(_HORIZON, parameters)["horizon"].to_pylist()
        return horizons[0] if horizons else None

    def _by_id(self, wanted: pl.DataFrame, margin_us: int | None) -> pl.DataFrame:
        return self._select_versions(_VERSIONS, wanted, margin_us)

    def _select_versions(self, query: str, wanted: pl.DataFrame, margin_us: int | None) -> pl.DataFrame:
        found = [
            versions_of(pl.DataFrame(self._clickhouse.select(query, parameters)))
            for parameters in _parameters(wanted, margin_us)
        ]
        return pl.concat([HELD.to_frame(), *found]).join(wanted, on=IDENTITY, how="semi")

    def _summed(self, wanted: pl.DataFrame, margin_us: int | None) -> pl.DataFrame:
        """The summed trades that contain the matches, each under the id of the match."""
        number = pl.col("trade_id").cast(pl.UInt64, strict=False).alias("number")
        numbered = wanted.filter(pl.col("trade_id").str.contains(_NUMBER)).with_columns(number)
        matches = numbered.drop_nulls("number").sort("number")
        found = [HELD.to_frame()]
        for parameters in _parameters(matches.drop("number"), margin_us):
            numbers = [int(trade_id) for trade_id in parameters.pop("ids")]
            bounds = {"low": min(numbers), "high": max(numbers)}
            rows = self._clickhouse.select(_VERSIONS_SUMMED, parameters | bounds)
            found.append(versions_of(pl.DataFrame(rows)))
        sums = pl.concat(found).with_columns(number.alias("last")).drop_nulls("last").sort("last").drop("trade_id")
        # The summed trade that contains a match is the one with the least id at or above the match's.
        nearest = matches.select(*IDENTITY, "number").join_asof(
            sums,
            left_on="number",
            right_on="last",
            by=["exchange", "symbol"],
            strategy="forward",
            check_sortedness=False,
        )
        return versions_of(nearest.filter(pl.col("last") - pl.col("number") < pl.col("match_count")))


def _consumer(learn: Learn, markets: Sequence[Market], horizon: int | None) -> Callable[[Iterator[pa.Table]], None]:
    return lambda blocks: learn(markets, blocks, horizon)


def _wanted(rows: pa.Table) -> pl.DataFrame:
    """Each trade of the rows once, with a time."""
    return pl.DataFrame(rows.select([*IDENTITY, "timestamp"])).unique(IDENTITY, keep="first", maintain_order=True)


def _parameters(wanted: pl.DataFrame, margin_us: int | None) -> list[dict[str, Any]]:
    """The parameters of each query that looks trades up: within `margin_us` of their times; None: at all times."""
    queries = []
    # Each id has two quotes and a comma around it, and each of its bytes may be escaped.
    size = pl.col("trade_id").str.len_bytes().cast(pl.Int64) * 2 + 3
    for (exchange, symbol), market in wanted.group_by("exchange", "symbol", maintain_order=True):
        ordered = market.sort("timestamp").with_columns(query=(size.cum_sum() - size) // _ID_BYTES_A_QUERY)
        for part in ordered.partition_by("query", maintain_order=True):
            times = part["timestamp"].to_physical().to_numpy()
            queries.append(
                {
                    "exchange": exchange,
                    "symbol": symbol,
                    "earliest": EARLIEST_US if margin_us is None else int(times.min()) - margin_us,
                    "latest": END_US if margin_us is None else int(times.max()) + margin_us,
                    "ids": part["trade_id"].to_list(),
                }
            )
    return queries


def _lookups(rows: pl.DataFrame) -> list[pl.DataFrame]:
    """The rows in order, in parts of about `_IDS_A_QUERY` match ids. A trade of more matches is a part of its own."""
    matches = rows["match_count"].cast(pl.Int64)
    number, is_long = (matches.cum_sum() - 1) // _IDS_A_QUERY, matches > _IDS_A_QUERY
    return rows.with_columns(query=number, long=is_long).partition_by("query", "long", maintain_order=True)


def _match_ids(rows: pl.DataFrame) -> dict[str, Any]:
    """The ids of all matches of the trades, as parameters of `overlapping.sql`. An id without a number is one match."""
    lasts, counts = rows["trade_id"].to_list(), rows["match_count"].to_list()
    ranges = [
        range(int(last) - count + 1, int(last) + 1)
        for last, count in zip(lasts, counts, strict=True)
        if last.isascii() and last.isdigit() and int(last) < 2**64
    ]
    low, high = max(min((ids[0] for ids in ranges), default=1), 0), max((ids[-1] for ids in ranges), default=0)
    if rows["long"][0]:
        return {"ids": lasts, "first": low, "last": high, "low": low, "high": high}
    ids = {*lasts, *(str(number) for matches in ranges if len(matches) > 1 for number in matches)}
    return {"ids": sorted(ids), "first": 1, "last": 0, "low": low, "high": high}
