"""The index of seen trades: it knows which rows of a batch are new and which are duplicates.

For each batch the caller groups the rows by market once (`by_market`), then calls `unknown`, loads those markets,
`split`, inserts the new rows, and `add`.
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
    """A batch has a market whose trades were never loaded: load the markets of `unknown(trades)` first."""


@dataclass(slots=True)
class _MarketIds:
    numbers: IdBitmaps
    texts: IdHashes

    def __len__(self) -> int:
        return len(self.numbers) + len(self.texts)

    @property
    def memory_bytes(self) -> int:
        return self.numbers.memory_bytes + self.texts.memory_bytes


@dataclass(frozen=True, slots=True)
class Split:
    """The rows of a batch. Each is in one table, in the batch's order.

    `fresh`: new trades. `again`: duplicates. `partly`: summed trades of which Silver has some matches; to insert them
    would count these matches twice, to drop them would lose the others. `known`: for each of them, which matches Silver
    has (`5-6 of 5-7`).
    """

    fresh: pa.Table
    again: pa.Table
    partly: pa.Table
    known: list[str]
    _fresh_trades: list[MarketTrades] | None = None

    def fresh_trades(self) -> list[MarketTrades]:
        """The new trades by market, for `SeenTrades.add`."""
        return by_market(self.fresh) if self._fresh_trades is None else self._fresh_trades


class SeenTrades:
    """The trades that Silver holds, by market. A market is loaded when a worker meets it first.

    Numeric ids are kept in bitmaps, all ids that a summed trade stands for; other ids as hashes. Memory is bounded
    three times: `numbers_bytes_per_market` for a market's numeric ids, `texts_per_market` for the count of its other
    ids (16 bytes each), `max_bytes` for all markets. Beyond `max_bytes` the markets met longest ago are forgotten
    whole, and loaded again when met.

    A row that is no newer than what its market forgot is looked up in Silver through `overlapping`. This relies on an
    exchange that sends a trade again with the same time.
    """

    def __init__(
        self,
        overlapping: Overlapping,
        max_bytes: int = 512 * 2**20,
        texts_per_market: int = 1_000_000,
        numbers_bytes_per_market: int = 32 * 2**20,
    ) -> None:
        self._overlapping = overlapping
        self._max_bytes = max_bytes
        self._texts_per_market = texts_per_market
        self._numbers_bytes_per_market = numbers_bytes_per_market
        self._markets: OrderedDict[Market, _MarketIds] = OrderedDict()
        self._sizes: dict[Market, tuple[int, int]] = {}

    @property
    def memory_bytes(self) -> int:
        """Upper bound on the bytes of all ids."""
        # The metrics ask while an insert changes the index, so a copy is summed.
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
        """Replace what is known of the markets by the trades in `blocks`.

        `blocks` (columns exchange, symbol, trade_id, timestamp, match_count) hold all trades of the markets after
        `horizon` (µs; None: all trades), in ascending order of time in each market.
        """
        self.forget(markets)
        loaded = {
            market: _MarketIds(
                IdBitmaps(self._numbers_bytes_per_market, horizon),
                IdHashes(self._texts_per_market, horizon),
            )
            for market in markets
        }
        for block in blocks:
            for part in by_market(block):
                _learn(loaded[part.market], part)
        for market, ids in loaded.items():
            self._keep(market, ids)

    def split(self, valid: pa.Table, trades: list[MarketTrades], but_token: str = "") -> Split:
        """Split a batch (Silver's columns) into new trades and others. The index does not change.

        `trades`: the batch by market. Of rows that share a match, the one of more matches is new; of equally long ones
        the first by timestamp, sequence, trade_id and raw coordinates. `but_token`: rows that Silver holds under this
        insert token do not count.

        Raises:
            MarketNotLoadedError: a market was not loaded.
        """
        again = np.zeros(valid.num_rows, dtype=np.bool_)
        partly: dict[int, str] = {}
        for part in trades:
            self._mark_held(valid, part, again, partly, but_token)
        rest = ~again
        rest[list(partly)] = False
        if any(part.has_repeats for part in trades):
            repeated = _repeated(valid, rest)
            again |= repeated
            rest &= ~repeated
        if rest.all():
            return Split(valid, valid.slice(0, 0), valid.slice(0, 0), [], trades)
        places = sorted(partly)
        return Split(
            valid.filter(pa.array(rest)),
            valid.filter(pa.array(again)),
            valid.take(pa.array(places, pa.int64())),
            [partly[place] for place in places],
        )

    def add(self, trades: Iterable[MarketTrades]) -> None:
        """Remember trades that Silver holds now. Add each trade once.

        Raises:
            MarketNotLoadedError: a market was not loaded.
        """
        for part in trades:
            ids = self._ids(part.market)
            _learn(ids, part)
            self._keep(part.market, ids)

    def trim(self) -> None:
        """Forget the markets met longest ago until the index fits into `max_bytes`. Call it between batches."""
        while self.memory_bytes > self._max_bytes and len(self._markets) > 1:
            oldest, _ = self._markets.popitem(last=False)
            del self._sizes[oldest]

    def forget(self, markets: Iterable[Market] | None = None) -> None:
        """Forget the markets (default: all). They are loaded again when they are met."""
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
        again: npt.NDArray[np.bool_],
        partly: dict[int, str],
        but_token: str,
    ) -> None:
        """Set `again` and `partly` (by row) for the market's rows of which the index or Silver holds matches."""
        ids = self._ids(part.market)
        held = ids.texts.holds(part.hashes)
        again[part.text_rows] = held
        unsure = part.text_rows[_older(part.text_times, ids.texts.horizon) & ~held]
        if not len(unsure) and _are_new(part, ids.numbers):
            return
        known = ids.numbers.common(part.distinct)
        old = _older(part.number_times - SAME_TIME_US, ids.numbers.horizon)
        asked = np.sort(np.concatenate([unsure, part.number_rows[old & ~_known_singles(part, known)]]))
        if len(asked):
            columns = valid.select([*IDENTITY, "timestamp", "match_count"])
            found = of_market(part.market, self._overlapping(columns.take(pa.array(asked)), but_token))
            known |= found.distinct & part.distinct
            texts = IdHashes(len(found.text_rows))
            texts.add(found.hashes, found.text_times)
            again[part.text_rows] |= texts.holds(part.hashes)
        overlap = part.has_repeated_numbers
        order = _canonical_order(valid, part) if part.counts is not None and overlap else slice(None)
        counts = None if part.counts is None else part.counts[order]
        matched = match(part.numbers[order], counts, known, overlap=overlap)
        places = part.number_rows[order]
        again[places] = matched.again
        partly |= {int(places[place]): text for place, text in matched.partly.items()}


def _are_new(part: MarketTrades, held: IdBitmaps) -> bool:
    """Whether all numeric trades are certainly new, by comparing extremes only.

    That holds for trades in order: they are newer than all forgotten trades, their ids are higher than all held ones,
    and no summed trade shares a match with another.
    """
    if not len(part.numbers):
        return True
    is_newer = held.horizon is None or part.earliest - SAME_TIME_US > held.horizon
    return is_newer and part.lowest > held.highest and (part.counts is None or not part.has_repeated_numbers)


def _older(times: npt.NDArray[np.int64], horizon: int | None) -> npt.NDArray[np.bool_]:
    return np.zeros(len(times), dtype=np.bool_) if horizon is None else times <= horizon


def _known_singles(part: MarketTrades, known: BitMap64) -> npt.NDArray[np.bool_]:
    """Which trades are single matches that are known. A summed trade has to be looked up as a whole."""
    is_known = np.isin(part.numbers, np.asarray(known.to_array(), dtype=np.uint64))
    return is_known if part.counts is None else is_known & (part.counts == 1)


def _canonical_order(valid: pa.Table, part: MarketTrades) -> Places:
    """The places of the market's numeric trades, sorted by `_ORDER`."""
    rows = pl.DataFrame(valid.select(_ORDER).take(pa.array(part.number_rows))).with_row_index("place")
    return rows.sort([*_ORDER, "place"])["place"].to_numpy()


def _learn(ids: _MarketIds, part: MarketTrades) -> None:
    if len(part.numbers):
        ids.numbers.add(part.distinct, part.latest)
    ids.texts.add(part.hashes, part.text_times)


def _repeated(valid: pa.Table, among: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which rows share their identity with a row that comes earlier by `_ORDER`. Only the rows `among` count."""
    repeated = np.zeros(valid.num_rows, dtype=np.bool_)
    names = list(dict.fromkeys([*IDENTITY, *_ORDER]))
    rows = pl.DataFrame(valid.select(names)).with_row_index("row").filter(among)
    again = rows.select(IDENTITY).is_duplicated()
    if again.any():
        ordered = rows.filter(again).sort([*_ORDER, "row"])
        repeated[ordered.filter(~pl.struct(IDENTITY).is_first_distinct())["row"].to_numpy()] = True
    return repeated
