"""The index of trades that Silver holds: which rows of a batch are new, which are duplicates."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from silver_processor.digests import DigestSet
from silver_processor.numbers import NumberSet

Market = tuple[str, str]
# Rows (exchange, symbol, trade_id, timestamp) of one market → for each, whether Silver holds its id, apart from the
# rows of the insert with that token ("": all count).
InSilver = Callable[[pa.Table, str], npt.NDArray[np.bool_]]

_IDENTITY = ["exchange", "symbol", "trade_id"]
_ORDER = ["timestamp", "sequence", "trade_id", "raw_topic", "published_at", "raw_partition", "raw_offset"]
_NUMBER = r"^(?:0|[1-9][0-9]{0,19})$"


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
            self._learn(ids, pl.DataFrame(block.select(["trade_id", "timestamp"])))
        self._keep(market, ids)

    def split(self, valid: pa.Table, but_token: str = "") -> tuple[pa.Table, pa.Table]:
        """Fresh rows and duplicates, both in the batch's order; the index itself is not changed.

        Of rows with one identity in the batch the first in (timestamp, sequence, trade_id, raw coordinates) is fresh.
        `but_token`: rows that Silver holds under this token do not count.

        Raises:
            MarketNotLoadedError: a market was not loaded.
        """
        rows = pl.DataFrame(valid.select([*_IDENTITY, "timestamp"])).with_row_index("row")
        again = np.zeros(valid.num_rows, dtype=np.bool_)
        for market, part in _by_market(rows):
            again[part["row"].to_numpy()] = self._held(market, part, but_token)
        again |= _repeated(valid)
        if not again.any():
            return valid, valid.slice(0, 0)
        mask = pa.array(again)
        return valid.filter(pa.array(~again)), valid.filter(mask)

    def add(self, table: pa.Table) -> None:
        """Remember rows that Silver holds now (columns exchange, symbol, trade_id, timestamp).

        Raises:
            MarketNotLoadedError: a market was not loaded.
        """
        for market, part in _by_market(pl.DataFrame(table.select([*_IDENTITY, "timestamp"]))):
            ids = self._ids(market)
            self._learn(ids, part)
            self._keep(market, ids)

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

    @staticmethod
    def _learn(ids: _Ids, part: pl.DataFrame) -> None:
        numbers, is_number = _numbers(part)
        ids.numbers.add(numbers, _micros(part.filter(is_number)))
        texts = part.filter(~is_number)
        ids.texts.add(texts["trade_id"], _micros(texts))

    def _held(self, market: Market, part: pl.DataFrame, but_token: str) -> npt.NDArray[np.bool_]:
        ids = self._ids(market)
        numbers, is_number = _numbers(part)
        held = np.zeros(part.height, dtype=np.bool_)
        number_rows, times = is_number.to_numpy(), _micros(part)
        held[number_rows] = ids.numbers.holds(numbers)
        if not number_rows.all():
            held[~number_rows] = ids.texts.holds(part.filter(~is_number)["trade_id"])
        doubtful = ~held & (_forgotten(times, ids.numbers.horizon, number_rows))
        doubtful |= ~held & (_forgotten(times, ids.texts.horizon, ~number_rows))
        if doubtful.any():
            asked = part.filter(pl.Series(doubtful)).select([*_IDENTITY, "timestamp"])
            held[doubtful] = self._in_silver(asked.to_arrow(), but_token)
        return held


def _micros(part: pl.DataFrame) -> npt.NDArray[np.int64]:
    return part["timestamp"].to_physical().to_numpy()


def _forgotten(times: npt.NDArray[np.int64], horizon: int | None, rows: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which of `rows` the index may have forgotten."""
    return np.zeros(len(times), dtype=np.bool_) if horizon is None else rows & (times <= horizon)


def _by_market(rows: pl.DataFrame) -> Iterator[tuple[Market, pl.DataFrame]]:
    for (exchange, symbol), part in rows.group_by("exchange", "symbol", maintain_order=True):
        yield (str(exchange), str(symbol)), part


def _numbers(part: pl.DataFrame) -> tuple[npt.NDArray[np.uint64], pl.Series]:
    """The ids that are the plain text of a number below 2^64, and which rows they are of."""
    ids = part.select(
        pl.when(pl.col("trade_id").str.contains(_NUMBER)).then(pl.col("trade_id")).cast(pl.UInt64, strict=False)
    ).to_series()
    return ids.drop_nulls().to_numpy(), ids.is_not_null()


def _repeated(valid: pa.Table) -> npt.NDArray[np.bool_]:
    """Rows whose identity an earlier row of the batch has, earlier in the canonical order."""
    identity = pl.DataFrame(valid.select(_IDENTITY))
    repeated = np.zeros(valid.num_rows, dtype=np.bool_)
    again = identity.is_duplicated()
    if again.any():
        names = list(dict.fromkeys([*_IDENTITY, *_ORDER]))
        rows = pl.DataFrame(valid.select(names)).with_row_index("row").filter(again).sort([*_ORDER, "row"])
        repeated[rows.filter(~pl.struct(_IDENTITY).is_first_distinct())["row"].to_numpy()] = True
    return repeated
