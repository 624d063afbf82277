"""The index of trades that Silver holds: which rows of a batch are new, which are duplicates."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from silver_processor.by_market import IDENTITY, Market, MarketTrades, by_market, of_market
from silver_processor.digests import DigestSet
from silver_processor.numbers import NumberSet

# Rows (exchange, symbol, trade_id, timestamp) of one market → for each, whether Silver holds its id, apart from the
# rows of the insert with that token ("": all count).
InSilver = Callable[[pa.Table, str], npt.NDArray[np.bool_]]

_ORDER = ["timestamp", "sequence", "trade_id", "raw_topic", "published_at", "raw_partition", "raw_offset"]


class MarketNotLoadedError(LookupError):
    """A batch has a market whose earlier ids were never loaded: call `load` for `unknown(valid)` first."""


@dataclass(slots=True)
class _Ids:
    numbers: NumberSet
    texts: DigestSet

    def __len__(self) -> int:
        return len(self.numbers) + len(self.texts)

    @property
    def memory_bytes(self) -> int:
        return self.numbers.memory_bytes + self.texts.memory_bytes


class SeenTrades:
    """Which (exchange, canonical symbol, trade_id) Silver holds, by market; loaded when a market is first met.

    Ids that are numbers below 2^64 live in roaring bitmaps (consecutive ids cost next to nothing), other ids as
    128-bit digests. Bounded three times: a market's numbers by `numbers_bytes_per_market`, its other ids by their
    count `texts_per_market` (16 bytes each), all markets together by `max_bytes`. A row no newer than what its market
    forgot is asked of Silver through `in_silver`, on the understanding that an exchange sends a trade again with the
    same time. Beyond `max_bytes` the markets not met for longest are forgotten whole, and loaded again when met.
    """

    def __init__(
        self,
        in_silver: InSilver,
        max_bytes: int = 512 * 2**20,
        texts_per_market: int = 1_000_000,
        numbers_bytes_per_market: int = 32 * 2**20,
    ) -> None:
        self._in_silver = in_silver
        self._max_bytes = max_bytes
        self._texts_per_market = texts_per_market
        self._numbers_bytes_per_market = numbers_bytes_per_market
        self._markets: OrderedDict[Market, _Ids] = OrderedDict()
        self._sizes: dict[Market, tuple[int, int]] = {}
        # What `split` found to be all new is what `add` is told next.
        self._fresh: tuple[pa.Table, list[MarketTrades]] | None = None

    @property
    def memory_bytes(self) -> int:
        """Bytes of all ids held, an upper bound."""
        # A copy: the metrics ask while an insert goes on.
        return sum(size for size, _ in list(self._sizes.values()))

    @property
    def ids(self) -> int:
        """How many ids are held."""
        return sum(count for _, count in list(self._sizes.values()))

    @property
    def markets(self) -> int:
        """How many markets are held."""
        return len(self._sizes)

    def unknown(self, valid: pa.Table) -> list[Market]:
        """The markets of a batch that must be loaded before `split`, sorted."""
        markets = pl.DataFrame(valid.select(["exchange", "symbol"])).unique().sort("exchange", "symbol")
        return [market for market in markets.iter_rows() if market not in self._markets]

    def load(self, market: Market, blocks: Iterable[pa.Table] = (), horizon: int | None = None) -> None:
        """Know `market` from now on, with the ids in `blocks` (columns trade_id, timestamp; ascending times) and
        nothing of what Silver holds at or before `horizon` (µs; None: `blocks` are all of it).

        Loading a market again starts from nothing.
        """
        self.forget([market])
        ids = _Ids(
            NumberSet(self._numbers_bytes_per_market, horizon),
            DigestSet(self._texts_per_market, horizon),
        )
        for block in blocks:
            _learn(ids, of_market(market, block))
        self._keep(market, ids)

    def split(self, valid: pa.Table, but_token: str = "") -> tuple[pa.Table, pa.Table]:
        """Fresh rows and duplicates, both in the batch's order; the index itself is not changed.

        Of rows with one identity in the batch the first in (timestamp, sequence, trade_id, raw coordinates) is fresh.
        `but_token`: rows that Silver holds under this token do not count.

        Raises:
            MarketNotLoadedError: a market was not loaded.
        """
        self._fresh = None
        parts = by_market(valid)
        again = np.zeros(valid.num_rows, dtype=np.bool_)
        for part in parts:
            self._mark_held(valid, part, again, but_token)
        if any(part.has_repeats for part in parts):
            again |= _repeated(valid)
        if not again.any():
            self._fresh = (valid, parts)
            return valid, valid.slice(0, 0)
        mask = pa.array(again)
        return valid.filter(pa.array(~again)), valid.filter(mask)

    def add(self, table: pa.Table) -> None:
        """Remember rows that Silver holds now (columns exchange, symbol, trade_id, timestamp), each identity once.

        Raises:
            MarketNotLoadedError: a market was not loaded.
        """
        fresh, self._fresh = self._fresh, None
        for part in fresh[1] if fresh is not None and fresh[0] is table else by_market(table):
            ids = self._ids(part.market)
            _learn(ids, part)
            self._keep(part.market, ids)

    def trim(self) -> None:
        """Forget the markets not met for longest while the index is larger than `max_bytes`; between batches."""
        while self.memory_bytes > self._max_bytes and len(self._markets) > 1:
            oldest, _ = self._markets.popitem(last=False)
            del self._sizes[oldest]

    def forget(self, markets: Iterable[Market] | None = None) -> None:
        """Forget the markets (all by default): they are loaded again when met."""
        for market in list(self._markets) if markets is None else markets:
            self._markets.pop(market, None)
            self._sizes.pop(market, None)

    def forget_exchanges(self, exchanges: Collection[str]) -> None:
        """Forget every market of these exchanges."""
        self.forget([market for market in self._markets if market[0] in exchanges])

    def _ids(self, market: Market) -> _Ids:
        if market not in self._markets:
            message = f"{market[0]}:{market[1]} is not loaded: call load for unknown(batch) before split or add"
            raise MarketNotLoadedError(message)
        return self._markets[market]

    def _keep(self, market: Market, ids: _Ids) -> None:
        self._markets[market] = ids
        self._markets.move_to_end(market)
        self._sizes[market] = (ids.memory_bytes, len(ids))

    def _mark_held(self, valid: pa.Table, part: MarketTrades, again: npt.NDArray[np.bool_], but_token: str) -> None:
        """Set `again` for the market's rows whose ids are held, or are in Silver where the index has forgotten them."""
        ids = self._ids(part.market)
        kinds = (
            (part.number_rows, part.number_times, ids.numbers.horizon, ids.numbers.holds(part.numbers, part.distinct)),
            (part.text_rows, part.text_times, ids.texts.horizon, ids.texts.holds(part.texts)),
        )
        doubtful: list[npt.NDArray[np.uint32]] = [part.text_rows[:0]]
        for rows, times, horizon, held in kinds:
            again[rows] = held
            if horizon is not None:
                doubtful.append(rows[~held & (times <= horizon)])
        asked = np.sort(np.concatenate(doubtful))
        if len(asked):
            columns = valid.select([*IDENTITY, "timestamp"])
            again[asked] = self._in_silver(columns.take(pa.array(asked)), but_token)


def _learn(ids: _Ids, part: MarketTrades) -> None:
    if len(part.numbers):
        ids.numbers.add(part.distinct, int(part.number_times.max()))
    ids.texts.add(part.texts, part.text_times)


def _repeated(valid: pa.Table) -> npt.NDArray[np.bool_]:
    """Rows whose identity an earlier row of the batch has, earlier in the canonical order."""
    identity = pl.DataFrame(valid.select(IDENTITY))
    repeated = np.zeros(valid.num_rows, dtype=np.bool_)
    again = identity.is_duplicated()
    if again.any():
        names = list(dict.fromkeys([*IDENTITY, *_ORDER]))
        rows = pl.DataFrame(valid.select(names)).with_row_index("row").filter(again).sort([*_ORDER, "row"])
        repeated[rows.filter(~pl.struct(IDENTITY).is_first_distinct())["row"].to_numpy()] = True
    return repeated
