"""Plans the withdrawal of trades that their exchange has taken back. `offload.accept.accept` carries it out.

A withdrawal is a correction without a match: the accepted version is that there is no such trade. Each message of the
trade that came before it becomes a dead letter `trade_superseded`. A later one becomes a dead letter
`trade_contradicts`, which `medallion dlq accept` takes over.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

import polars as pl
from pyiceberg.expressions import And, EqualTo

from offload.accept import CORRECTION, AcceptPlan, cold_held, corrections_of, read_hot
from offload.clickhouse.client import Parameters
from offload.clickhouse.server import server_now_us
from offload.clickhouse.tiers import Tiers
from offload.difference.day import SILVER
from offload.files.scans import read_rows
from offload.tables.slices import GRACE_US, Slice
from silver_processor.core.versions import HELD, IDENTITY, WITHDRAWN

_IDS_A_QUERY = 500
_IDS = pl.Schema({"trade_id": pl.String})


def held_ids(tiers: Tiers, market: tuple[str, str], from_us: int, to_us: int) -> set[str]:
    """The ids of the trades that Silver has of a market in [from_us, to_us) (µs, UTC), hot or cold.

    `market`: exchange code and canonical symbol.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    exchange, symbol = market
    span: Parameters = {"exchange": exchange, "symbol": symbol, "from_us": from_us, "to_us": to_us}
    ids = set(read_hot(tiers.hot, "withdraw_ids.sql", _IDS, span)["trade_id"])
    ours = And(
        EqualTo("exchange", exchange),  # type: ignore[call-arg, arg-type]
        EqualTo("symbol", symbol),  # type: ignore[call-arg, arg-type]
        Slice(from_us, to_us).between(SILVER.partition_time),
    )
    for piece in read_rows(tiers.cold.load(SILVER), ours, ["trade_id"]):
        ids.update(piece["trade_id"])
    return ids


def plan_withdrawal(tiers: Tiers, market: tuple[str, str], trade_ids: Collection[str]) -> AcceptPlan:
    """The changes that withdrawing these trades of a market would make. Writes nothing.

    `market`: exchange code and canonical symbol. Trades that Silver does not have are left out.

    Raises:
        HotStoreError: ClickHouse failed.
    """
    exchange, symbol = market
    wanted = pl.DataFrame({"trade_id": sorted(set(trade_ids))}).select(
        exchange=pl.lit(exchange), symbol=pl.lit(symbol), trade_id=pl.col("trade_id").cast(pl.String)
    )
    found = [HELD.to_frame()]
    for ids in wanted.iter_slices(_IDS_A_QUERY):
        parameters: Parameters = {"exchange": exchange, "symbol": symbol, "ids": ids["trade_id"].to_list()}
        found.append(read_hot(tiers.hot, "withdraw_silver.sql", HELD, parameters))
    hot_held = pl.concat(found)
    held = pl.concat([hot_held, cold_held(tiers.cold, wanted.join(hot_held, on=IDENTITY, how="anti"))])
    # Every message of the trade that has come so far is older than this correction.
    withdrawn = held.unique(IDENTITY).with_columns(
        match_count=pl.lit(WITHDRAWN, HELD["match_count"]),
        published_at=pl.lit(datetime.now(UTC)).cast(HELD["published_at"]),
        old_timestamp=pl.col("timestamp"),
    )
    trades = corrections_of(withdrawn, server_now_us(tiers.hot) - GRACE_US)
    noted = read_hot(tiers.hot, "withdraw_unfinished.sql", CORRECTION, {})
    return AcceptPlan(
        trades=trades,
        held=held,
        fields=trades.select(*IDENTITY, field=pl.lit("trade_id")),
        agreeing=HELD.to_frame(),
        unfinished=noted.join(trades, on=IDENTITY, how="anti"),
        refused={},
        not_over=withdrawn.height - trades.height,
        in_sums=0,
    )
