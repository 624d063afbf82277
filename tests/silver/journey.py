"""Frames of an exchange on their way to candles without any server: parser, Bronze, Silver function, minutes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from offload.difference.candles import minute_candles
from producers.exchanges import REGISTRY as EXCHANGES
from producers.exchanges.model import Trades
from producers.kafka.envelope import Envelope, envelopes
from schemas.records import BRONZE
from silver_processor.batching.batch import Message, validate
from silver_processor.core.rules import Rules
from silver_processor.seen.by_market import by_market
from silver_processor.seen.index import SeenTrades, Split

CASES = Path(__file__).parents[1] / "cases"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Journey:
    """One exchange's Silver, held in memory; every call of `take` is one insert."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._offset = 0
        self._index = SeenTrades(self._in_silver)
        self._rows: list[pa.Table] = []
        self.rejects: list[dict[str, Any]] = []
        self.duplicates = 0
        self.controls: list[str] = []

    def replay(self, code: str, case: str, name: str = "frames.jsonl") -> None:
        """The frames of a file, as `medallion replay` reads them, in one insert."""
        frames = (CASES / case / name).read_bytes().splitlines()
        found: list[Envelope] = []
        for frame in frames:
            parsed = EXCHANGES[code].parse(frame)
            if not isinstance(parsed, Trades):
                self.controls.append(getattr(parsed, "kind", "unrecognised"))
            found += envelopes(code, frame, parsed, 1)
        self.take(found)

    def take(self, messages: Sequence[Envelope]) -> Split:
        """Raw messages in one insert."""
        rows = pa.Table.from_pylist([self._bronze(message) for message in messages], schema=BRONZE)
        validated = validate([Message(0, self._offset, 0, rows)], "bronze", self._rules, _EPOCH)
        trades = by_market(validated.valid)
        self._index.load(self._index.unknown(trades))
        split = self._index.split(validated.valid, trades)
        self._index.add(split.fresh_trades())
        self._rows.append(split.fresh)
        self.rejects += validated.rejects.to_pylist()
        self.rejects += [{"reason": "matches_partly_known", "limit": known} for known in split.known_matches]
        self.duplicates += split.duplicates.num_rows
        return split

    @property
    def silver(self) -> pl.DataFrame:
        """All rows."""
        return pl.DataFrame(pa.concat_tables(self._rows))

    @property
    def candles(self) -> pl.DataFrame:
        """Minutes of what candles count: open, high, low, close, volume, quote_volume, trade_count."""
        names = ["open", "high", "low", "close", "volume", "quote_volume", "trade_count"]
        return (
            minute_candles(self.silver)
            .sort("exchange", "symbol", "window_start")
            .select("symbol", "window_start", *names)
        )

    def _in_silver(self, rows: pa.Table, _token: str) -> pa.Table:
        market = rows["exchange"][0].as_py(), rows["symbol"][0].as_py()
        held = self.silver.filter((pl.col("exchange") == market[0]) & (pl.col("symbol") == market[1]))
        return held.select("trade_id", "timestamp", "match_count").to_arrow()

    def _bronze(self, message: Envelope) -> dict[str, Any]:
        self._offset += 1
        digits = int(message.timestamp) if message.timestamp.isdigit() else 0
        moment = _EPOCH + timedelta(microseconds=digits * (1 if digits > 10**14 else 1_000))
        return {
            "exchange": message.exchange,
            "symbol": message.symbol,
            "trade_id": message.trade_id,
            "price_text": message.price,
            "quantity_text": message.quantity,
            "timestamp": moment,
            "timestamp_raw": message.timestamp,
            "side": message.side,
            "sequence": message.sequence,
            "kind": message.kind,
            "matches": message.matches,
            "defect": "" if message.trade_id else "unrecognised_message",
            "raw_topic": f"market.crypto.trades.{message.exchange}.raw",
            "raw_partition": 0,
            "raw_offset": self._offset,
            "published_at": _EPOCH,
            "received_at": _EPOCH,
            "ingested_at": _EPOCH,
        }


def reasons(rejects: Iterable[dict[str, Any]]) -> list[str]:
    """Reason codes, sorted."""
    return sorted(str(reject["reason"]) for reject in rejects)
