"""The index of seen trades: it finds the rows of a batch that are new and those that are duplicates.

For each batch the caller groups the rows by market (`by_market`), loads the markets that `unknown` returns, calls
`split`, inserts the new rows, and calls `add`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from pyroaring import BitMap64

from silver_processor.core.matches import SAME_TIME_US, match
from silver_processor.seen.by_market import IDENTITY, Market, MarketTrades, Places, by_market, of_market
from silver_processor.seen.id_sets import IdBitmaps, IdHashes

# Looks trades up in Silver (see `silver_processor.seen.held_trades.HeldTrades.overlapping`).
Overlapping = Callable[[pa.Table, str], pa.Table]

_ORDER = ["timestamp", "sequence", "trade_id", "raw_topic", "published_at", "raw_partition", "raw_offset"]


class MarketNotLoadedError(LookupError):
    """A batch has a market that is not loaded: load the markets of `unknown(trades)` first."""


@dataclass(slots=True)
class _MarketIds:
    id_bitmaps: IdBitmaps
    id_hashes: IdHashes

    def __len__(self) -> int:
        return len(self.id_bitmaps) + len(self.id_hashes)

    @property
    def memory_bytes(self) -> int:
        return self.id_bitmaps.memory_bytes + self.id_hashes.memory_bytes


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of a batch. Each is in one of three tables, in the batch's order.

    `fresh`: new trades. `duplicates`: trades that Silver has, or that an earlier row of the batch has. `partly_known`:
    summed trades of which Silver has some matches; an insert would count these matches twice, and without it the others
    would be lost. `known_matches`: for each of these trades, the matches that Silver has (`5-6 of 5-7`).
    """

    fresh: pa.Table
    duplicates: pa.Table
    partly_known: pa.Table
    known_matches: list[str]
    _fresh_trades: list[MarketTrades] | None = None

    def fresh_trades(self) -> list[MarketTrades]:
        """The new trades by market, for `SeenTrades.add`."""
        return by_market(self.fresh) if self._fresh_trades is None else self._fresh_trades


class SeenTrades:
    """The trades that Silver holds, by market. A market is loaded when a batch has it for the first time.

    Numeric ids are kept in bitmaps, with all match ids of a summed trade; other ids as hashes. Memory has three bounds:
    `id_bitmap_bytes_per_market` for a market's numeric ids, `id_hashes_per_market` for the number of its other ids (16
    bytes each), `max_bytes` for all markets. Above `max_bytes` the least recently used markets are forgotten, and
    loaded again when a batch has them.

    A row that is no newer than the trades that its market has forgotten is looked up in Silver through `overlapping`.
    This relies on exchanges that send a trade again with the same time.
    """

    def __init__(
        self,
        overlapping: Overlapping,
        max_bytes: int = 512 * 2**20,
        id_hashes_per_market: int = 1_000_000,
        id_bitmap_bytes_per_market: int = 32 * 2**20,
    ) -> None:
        self._overlapping = overlapping
        self._max_bytes = max_bytes
        self._id_hashes_per_market = id_hashes_per_market
        self._id_bitmap_bytes_per_market = id_bitmap_bytes_per_market
        self._markets: OrderedDict[Market, _MarketIds] = OrderedDict()
        self._sizes: dict[Market, tuple[int, int]] = {}

    @property
    def memory_bytes(self) -> int:
        """Upper bound on the bytes of all ids."""
        # The metrics are read while an insert changes the index, so a copy is summed.
        return sum(size for size, _ in list(self._sizes.values()))

    @property
    def ids(self) -> int:
        """How many ids are held."""
        return sum(count for _, count in list(self._sizes.values()))

    @property
    def markets(self) -> int:
        """How many markets are held."""
        return len(self._sizes)

    def unknown(self, trades: Iterable[MarketTrades]) -> list[Market]:
        """The markets that must be loaded before `split`, sorted."""
        return sorted(part.market for part in trades if part.market not in self._markets)

    def load(self, markets: Collection[Market], blocks: Iterable[pa.Table] = (), horizon: int | None = None) -> None:
        """Replace the known trades of the markets by those in `blocks`.

        `blocks` (columns exchange, symbol, trade_id, timestamp, match_count) hold all trades of the markets after
        `horizon` (µs; None: all trades), in ascending order of time in each market.
        """
        self.forget(markets)
        loaded = {
            market: _MarketIds(
                IdBitmaps(self._id_bitmap_bytes_per_market, horizon),
                IdHashes(self._id_hashes_per_market, horizon),
            )
            for market in markets
        }
        for block in blocks:
            for part in by_market(block):
                _learn(loaded[part.market], part)
        for market, ids in loaded.items():
            self._keep(market, ids)

    def split(self, valid: pa.Table, trades: list[MarketTrades], excluded_token: str = "") -> Split:
        """Split a batch (Silver's columns) into new trades and others. The index does not change.

        `trades`: the batch by market. Of rows that share a match, the one of more matches is new; of equally long ones
        the first by timestamp, sequence, trade_id and raw coordinates. `excluded_token`: trades that Silver holds under
        this insert token count as new.

        Raises:
            MarketNotLoadedError: a market was not loaded.
        """
        is_duplicate = np.zeros(valid.num_rows, dtype=np.bool_)
        partly_known: dict[int, str] = {}
        for part in trades:
            self._mark_held(valid, part, is_duplicate, partly_known, excluded_token)
        is_new = ~is_duplicate
        is_new[list(partly_known)] = False
        if any(part.has_repeats for part in trades):
            repeated = _repeated(valid, is_new)
            is_duplicate |= repeated
            is_new &= ~repeated
        if is_new.all():
            return Split(valid, valid.slice(0, 0), valid.slice(0, 0), [], trades)
        places = sorted(partly_known)
        return Split(
            valid.filter(pa.array(is_new)),
            valid.filter(pa.array(is_duplicate)),
            valid.take(pa.array(places, pa.int64())),
            [partly_known[place] for place in places],
        )

    def add(self, trades: Iterable[MarketTrades]) -> None:
        """Add trades that Silver holds now. Each trade is added once.

        Raises:
            MarketNotLoadedError: a market was not loaded.
        """
        for part in trades:
            ids = self._ids(part.market)
            _learn(ids, part)
            self._keep(part.market, ids)

    def trim(self) -> None:
        """Forget the least recently used markets until the index fits into `max_bytes`. Call it between batches."""
        while self.memory_bytes > self._max_bytes and len(self._markets) > 1:
            oldest, _ = self._markets.popitem(last=False)
            del self._sizes[oldest]

    def forget(self, markets: Iterable[Market] | None = None) -> None:
        """Forget the markets (default: all). They are loaded again when a batch has them."""
        for market in list(self._markets) if markets is None else markets:
            self._markets.pop(market, None)
            self._sizes.pop(market, None)

    def forget_exchanges(self, exchanges: Collection[str]) -> None:
        """Forget every market of these exchanges."""
        self.forget([market for market in self._markets if market[0] in exchanges])

    def _ids(self, market: Market) -> _MarketIds:
        if market not in self._markets:
            message = f"{market[0]}:{market[1]} is not loaded: load the markets of unknown(trades) before split or add"
            raise MarketNotLoadedError(message)
        return self._markets[market]

    def _keep(self, market: Market, ids: _MarketIds) -> None:
        self._markets[market] = ids
        self._markets.move_to_end(market)
        self._sizes[market] = (ids.memory_bytes, len(ids))

    def _mark_held(
        self,
        valid: pa.Table,
        part: MarketTrades,
        is_duplicate: npt.NDArray[np.bool_],
        partly_known: dict[int, str],
        excluded_token: str,
    ) -> None:
        """Set `is_duplicate` and `partly_known` (by row) for rows of the market with matches that Silver holds."""
        ids = self._ids(part.market)
        is_held = ids.id_hashes.holds(part.id_hashes)
        is_duplicate[part.hashed_rows] = is_held
        unsure_hashed = part.hashed_rows[_older(part.hashed_times, ids.id_hashes.horizon) & ~is_held]
        if not len(unsure_hashed) and _are_new(part, ids.id_bitmaps):
            return
        known = ids.id_bitmaps.common(part.distinct)
        old = _older(part.numeric_times - SAME_TIME_US, ids.id_bitmaps.horizon)
        unsure = np.sort(np.concatenate([unsure_hashed, part.numeric_rows[old & ~_known_singles(part, known)]]))
        if len(unsure):
            columns = valid.select([*IDENTITY, "timestamp", "match_count"])
            held = of_market(part.market, self._overlapping(columns.take(pa.array(unsure)), excluded_token))
            known |= held.distinct & part.distinct
            id_hashes = IdHashes(len(held.hashed_rows))
            id_hashes.add(held.id_hashes, held.hashed_times)
            is_duplicate[part.hashed_rows] |= id_hashes.holds(part.id_hashes)
        overlap = part.has_repeated_matches
        order = _canonical_order(valid, part) if part.counts is not None and overlap else slice(None)
        counts = None if part.counts is None else part.counts[order]
        matched = match(part.numeric_ids[order], counts, known, overlap=overlap)
        places = part.numeric_rows[order]
        is_duplicate[places] = matched.is_duplicate
        partly_known |= {int(places[place]): text for place, text in matched.partly_known.items()}


def _are_new(part: MarketTrades, held: IdBitmaps) -> bool:
    """Whether all numeric trades are certainly new, as trades that come in order are. Only extremes are compared.

    They are new if they are newer than all forgotten trades, their ids are higher than all held ones, and no summed
    trade shares a match with another trade.
    """
    if not len(part.numeric_ids):
        return True
    is_newer = held.horizon is None or part.earliest - SAME_TIME_US > held.horizon
    return is_newer and part.lowest > held.highest and (part.counts is None or not part.has_repeated_matches)


def _older(times: npt.NDArray[np.int64], horizon: int | None) -> npt.NDArray[np.bool_]:
    return np.zeros(len(times), dtype=np.bool_) if horizon is None else times <= horizon


def _known_singles(part: MarketTrades, known: BitMap64) -> npt.NDArray[np.bool_]:
    """Whether each trade is a single match that is known. A summed trade has to be looked up as a whole."""
    is_known = np.isin(part.numeric_ids, np.asarray(known.to_array(), dtype=np.uint64))
    return is_known if part.counts is None else is_known & (part.counts == 1)


def _canonical_order(valid: pa.Table, part: MarketTrades) -> Places:
    """The places of the market's numeric trades, sorted by `_ORDER`."""
    rows = pl.DataFrame(valid.select(_ORDER).take(pa.array(part.numeric_rows))).with_row_index("place")
    return rows.sort([*_ORDER, "place"])["place"].to_numpy()


def _learn(ids: _MarketIds, part: MarketTrades) -> None:
    if len(part.numeric_ids):
        ids.id_bitmaps.add(part.distinct, part.latest)
    ids.id_hashes.add(part.id_hashes, part.hashed_times)


def _repeated(valid: pa.Table, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Whether each row has the identity of a row that comes earlier by `_ORDER`. Only the rows `among` count."""
    repeated = np.zeros(valid.num_rows, dtype=np.bool_)
    names = list(dict.fromkeys([*IDENTITY, *_ORDER]))
    rows = pl.DataFrame(valid.select(names)).with_row_index("row").filter(among)
    shares_identity = rows.select(IDENTITY).is_duplicated()
    if shares_identity.any():
        ordered = rows.filter(shares_identity).sort([*_ORDER, "row"])
        repeated[ordered.filter(~pl.struct(IDENTITY).is_first_distinct())["row"].to_numpy()] = True
    return repeated
