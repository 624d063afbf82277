"""Finds the trade ids of a window of time, as far as the exchange serves them over REST."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Protocol

from producers.exchanges.model import Pages, Rest, RestError, Trade, TradeSpan
from producers.timestamps import event_time_us

# Requests the page of trades around an id.
Probe = Callable[[int], Awaitable[Sequence[Trade]]]


@dataclass(frozen=True, slots=True)
class ServedWindow:
    """The trades of a window of time: ids `first` to `last`, both included; none if `last` < `first`.

    `unreachable`: the part of the window (from, to; µs, UTC) that the exchange no longer serves. `trades`: all trades
    of the window, if the exchange serves only its newest ones; `first` and `last` then have no meaning.
    """

    first: int
    last: int
    unreachable: tuple[int, int] | None = None
    trades: tuple[Trade, ...] | None = None

    @property
    def count(self) -> int:
        """The number of trades that the exchange serves."""
        return max(self.last - self.first + 1, 0) if self.trades is None else len(self.trades)


class PagedClient(Protocol):
    """The client that `History` uses: `RestClient`, or one with more retries."""

    @property
    def rest(self) -> Rest:
        """As `RestClient.rest`."""

    @property
    def lacks_key(self) -> bool:
        """As `RestClient.lacks_key`."""

    async def newest(self, symbol: str) -> list[Trade]:
        """As `RestClient.newest`."""

    async def page(self, symbol: str, span: TradeSpan) -> list[Trade]:
        """As `RestClient.page`."""


class History:
    """Finds the trades of windows of time."""

    def __init__(self, client: PagedClient) -> None:
        """The caller opens and closes `client`."""
        self._client = client
        self._rest = client.rest
        self._only_newest = client.rest.pages is Pages.NONE or client.lacks_key

    async def window(self, symbol: str, from_us: int, to_us: int) -> ServedWindow:
        """The trades of [from_us, to_us) (µs, UTC), up to the newest one at this moment.

        Raises:
            as `RestClient.pages`.
        """
        newest = await self._client.newest(symbol)
        if not newest:
            return ServedWindow(0, -1)
        if self._only_newest:
            inside = tuple(trade for trade in newest if from_us <= _time_us(trade) < to_us)
            oldest_us = _time_us(newest[0])
            unreachable = (from_us, min(oldest_us, to_us)) if oldest_us > from_us else None
            return ServedWindow(0, -1, unreachable, inside)
        first, served_us = await self._first_at(symbol, from_us, newest)
        end, _ = await self._first_at(symbol, to_us, newest)
        is_cut = bool(self._rest.reach_s) and served_us is not None and served_us > from_us
        return ServedWindow(first, end - 1, (from_us, min(served_us or to_us, to_us)) if is_cut else None)

    async def _first_at(self, symbol: str, time_us: int, newest: Sequence[Trade]) -> tuple[int, int | None]:
        """The id of the first trade at or after a time, or the next id after the newest trade.

        The second value is that trade's time (µs, UTC) if the exchange serves no older trade, else None.
        """
        if _time_us(newest[-1]) < time_us:
            return int(newest[-1].trade_id) + 1, None
        if self._rest.by_time:
            page = await self._client.page(symbol, TradeSpan(0, 0, time_us))
            return next(int(trade.trade_id) for trade in page if _time_us(trade) >= time_us), None

        async def probe(number: int) -> Sequence[Trade]:
            return await self._client.page(symbol, TradeSpan(number, number, 0))

        return await search(probe, time_us, newest)


async def search(probe: Probe, time_us: int, newest: Sequence[Trade]) -> tuple[int, int | None]:
    """As `History._first_at`, by a search over ids: alternately by interpolation of the time, and half-way."""
    # The id is above `low`, and is `candidate` or below `bound`.
    low, low_us = -1, None
    bound = candidate = int(newest[-1].trade_id)
    candidate_us = _time_us(newest[-1])
    page, number = newest, candidate
    for step in count():
        if page:
            first, last = int(page[0].trade_id), int(page[-1].trade_id)
            first_us, last_us = _time_us(page[0]), _time_us(page[-1])
            if first_us < time_us <= last_us:
                return next(int(trade.trade_id) for trade in page if _time_us(trade) >= time_us), None
            if last_us < time_us:
                low, low_us = max(low, last, number), last_us
            else:
                bound = min(bound, first, number)
                candidate, candidate_us = min((candidate, candidate_us), (first, first_us))
        else:
            # The page is empty: the exchange does not serve trades this old.
            low = max(low, number)
        if low + 1 >= bound:
            return candidate, candidate_us if low_us is None else None
        number = (low + bound) // 2
        if low_us is not None and candidate_us > low_us and step % 2 == 0:
            number = low + int((candidate - low) * (time_us - low_us) / (candidate_us - low_us))
        number = min(max(number, low + 1), bound - 1)
        page = await probe(number)
    raise AssertionError("unreachable")


def _time_us(trade: Trade) -> int:
    moment = event_time_us(trade.timestamp)
    if moment is None:
        raise RestError(f"a trade without a time: {trade.timestamp!r}")
    return moment
