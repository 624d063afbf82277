"""Subscribes to the symbols of one connection. A refused symbol does not stop the others.

Exchanges refuse in four ways: symbol by symbol (Kraken, OKX); the whole message for one unknown symbol, which some name
and some do not (Bybit, Coinbase); by an acknowledgement without trades (Binance); and by silence. After a refusal or no
answer, the message is sent again without the named symbol, or in halves, until the refused symbol is alone. That symbol
is tried again at long intervals: it may be listed later.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from producers.exchanges.model import ACK, Control, Exchange, Parsed, SubscriptionAnswer, Trades, chunks
from producers.retry import pause_s
from producers.stream.symbol_states import SymbolState, SymbolStatuses

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The exchange's words, and the time of the next try on the monotonic clock, s."""

    words: str
    again_s: float


@dataclass(frozen=True, slots=True)
class SubscriptionTimeouts:
    """How long to wait for an answer (`answer_s`), and until a refused symbol is tried again (`again_s`)."""

    answer_s: float
    again_s: float


@dataclass(slots=True)
class _Asked:
    """A message that was sent, and its symbols without an answer."""

    symbols: list[str]
    sent_s: float


@dataclass(slots=True)
class _Planned:
    symbols: list[str]
    due_s: float


class Subscriptions:
    """The subscriptions of one connection, from its start. No I/O. Times are on the monotonic clock, s."""

    def __init__(
        self,
        exchange: Exchange,
        symbols: Sequence[str],
        statuses: SymbolStatuses,
        refusals: dict[str, Refusal],
        timeouts: SubscriptionTimeouts,
    ) -> None:
        """`refusals` has the refusals of earlier connections, and is updated for later ones."""
        self.statuses = statuses
        self._exchange, self._refusals, self._timeouts = exchange, refusals, timeouts
        self._log = _log.bind(exchange=exchange.code)
        self._asked: dict[int, _Asked] = {}
        self._number = 0
        self._tries: dict[str, int] = {}
        # One message at a time: an answer that names no symbol could be about any message.
        self._is_careful = not exchange.answers_each_symbol
        self._symbols = symbols
        for symbol, refusal in refusals.items():
            statuses.refused(symbol, refusal.words)
        wanted = [symbol for symbol in symbols if symbol not in refusals]
        self._planned = [_Planned([*chunk], 0.0) for chunk in chunks(wanted, exchange.symbols_a_message)]
        self._planned += [_Planned([symbol], refusal.again_s) for symbol, refusal in refusals.items()]

    @property
    def is_settled(self) -> bool:
        """Whether every symbol is answered, and at least one is accepted."""
        states = {self.statuses.state(symbol) for symbol in self._symbols}
        return SymbolState.SUBSCRIBING not in states and states != {SymbolState.REFUSED}

    @property
    def taken(self) -> list[str]:
        """The symbols that are accepted: acknowledged or streaming."""
        up = {SymbolState.ACKNOWLEDGED, SymbolState.STREAMING}
        return [symbol for symbol in self._symbols if self.statuses.state(symbol) in up]

    def due(self, now_s: float) -> list[str]:
        """The messages to send now."""
        self._give_up_waiting(now_s)
        ready = [one for one in self._planned if one.due_s <= now_s]
        if self._is_careful:
            ready = ready[: 0 if self._asked else 1]
        self._planned = [one for one in self._planned if one not in ready]
        messages = []
        for one in ready:
            # A symbol that streams already needs no subscription.
            symbols = [symbol for symbol in one.symbols if self.statuses.state(symbol) is not SymbolState.STREAMING]
            if symbols:
                self._number += 1
                self._asked[self._number] = _Asked(symbols, now_s)
                messages.append(self._exchange.subscribe(symbols, self._number))
        return messages

    def hear(self, parsed: Parsed, now_s: float) -> list[str]:
        """Handle a frame of the connection. Returns the symbols that are newly accepted."""
        if isinstance(parsed, Trades):
            self.statuses.observe(parsed.records)
            return []
        if not isinstance(parsed, Control) or parsed.answer is None:
            return []
        self.look(now_s)
        answer = parsed.answer
        if parsed.kind == ACK:
            return self._acknowledge(answer, now_s)
        self._refuse(answer, now_s)
        return []

    def look(self, now_s: float) -> list[str]:
        """Handle the trades since the last call. Returns the symbols that are newly accepted."""
        begun = self.statuses.settle(now_s)
        if begun:
            self._answered(begun)
        return [symbol for symbol, before in begun.items() if before is not SymbolState.ACKNOWLEDGED]

    def unknown(self, symbol: str, words: str) -> None:
        """Treat an acknowledged symbol without trades as refused: REST says that it does not exist."""
        if self.statuses.state(symbol) is SymbolState.ACKNOWLEDGED:
            self._log.error("symbol refused", symbol=symbol, words=words)
            self.statuses.refused(symbol, words)

    def _acknowledge(self, answer: SubscriptionAnswer, now_s: float) -> list[str]:
        message = self._message(answer)
        asked = message.symbols if message is not None else []
        if answer.symbols is not None:
            named = [name for text in answer.symbols if (name := self.statuses.name(text)) is not None]
        else:
            # "Already subscribed" names one symbol, and says nothing about the others.
            named = named_in(answer.words, asked) if answer.words else [*asked]
        taken = {*self.taken}
        for symbol in named:
            self.statuses.acknowledged(symbol, now_s)
        self._answered(named)
        if answer.words and message is not None and not self._exchange.answers_each_symbol:
            self._ask_again(message, now_s)
        return [symbol for symbol in named if symbol not in taken]

    def _refuse(self, answer: SubscriptionAnswer, now_s: float) -> None:
        message = self._message(answer)
        if message is None:
            return
        named = [name for name in (answer.symbols or ()) if name in message.symbols]
        named = named or named_in(answer.words, message.symbols)
        if len(named) == 1 or len(message.symbols) == 1:
            self._refuse_one((named or message.symbols)[0], answer.words, now_s)
            if self._exchange.answers_each_symbol:
                return
        elif 1 < len(named) < len(message.symbols):
            # Each of these is tried alone: the answer may only repeat the request.
            self._planned += [_Planned([symbol], now_s) for symbol in named]
            message.symbols = [symbol for symbol in message.symbols if symbol not in named]
        else:
            self._log.warning("subscription refused, trying again in halves", symbols=len(message.symbols),
                              words=answer.words)  # fmt: skip
            self._halve(message, now_s)
            return
        self._ask_again(message, now_s)

    def _refuse_one(self, symbol: str, words: str, now_s: float) -> None:
        words = words or "refused without a reason"
        is_new = symbol not in self._refusals
        self._refusals[symbol] = Refusal(words, now_s + self._timeouts.again_s)
        self.statuses.refused(symbol, words)
        self._planned.append(_Planned([symbol], now_s + self._timeouts.again_s))
        for message in self._asked.values():
            message.symbols = [one for one in message.symbols if one != symbol]
        self._forget_answered()
        if is_new:
            self._log.error("symbol refused", symbol=symbol, words=words, again_in_s=self._timeouts.again_s)

    def _answered(self, symbols: Collection[str]) -> None:
        for symbol in symbols:
            self._refusals.pop(symbol, None)
            self._tries.pop(symbol, None)
        for message in self._asked.values():
            message.symbols = [one for one in message.symbols if one not in symbols]
        self._forget_answered()

    def _forget_answered(self) -> None:
        self._asked = {number: message for number, message in self._asked.items() if message.symbols}

    def _ask_again(self, message: _Asked, now_s: float) -> None:
        """Plan the symbols that are left of a refused message."""
        if message.symbols:
            self._planned.append(_Planned(message.symbols, now_s))
            message.symbols = []
        self._forget_answered()

    def _halve(self, message: _Asked, now_s: float) -> None:
        half = (len(message.symbols) + 1) // 2
        self._planned += [_Planned([*part], now_s) for part in chunks(message.symbols, half)]
        message.symbols = []
        self._forget_answered()

    def _message(self, answer: SubscriptionAnswer) -> _Asked | None:
        """The message of an answer: the one with its number, or with a symbol that it names, or the oldest."""
        if answer.number is not None:
            return self._asked.get(answer.number)
        named = [*(answer.symbols or ())]
        for message in self._asked.values():
            if set(named) & set(message.symbols) or (not named and named_in(answer.words, message.symbols)):
                return message
        return next(iter(self._asked.values()), None) if answer.symbols is None else None

    def _give_up_waiting(self, now_s: float) -> None:
        """Try again without an answer: an exchange may silently drop a message because of one symbol in it."""
        late = [one for one in self._asked.values() if now_s - one.sent_s > self._timeouts.answer_s]
        if not late:
            return
        self.look(now_s)
        self._is_careful = True
        for message in [one for one in late if one.symbols]:
            words = f"no answer to its subscription within {self._timeouts.answer_s:g} s"
            for symbol in message.symbols:
                self.statuses.unanswered(symbol, words)
            self._log.warning("subscription not answered, trying again", symbols=message.symbols[:10],
                              count=len(message.symbols))  # fmt: skip
            if len(message.symbols) > 1:
                self._halve(message, now_s)
                continue
            (symbol,) = message.symbols
            self._tries[symbol] = tries = self._tries.get(symbol, 0) + 1
            wait_s = pause_s(self._timeouts.answer_s, tries, self._timeouts.again_s)
            self._planned.append(_Planned([symbol], now_s + wait_s))
            message.symbols = []
        self._forget_answered()


def named_in(words: str, symbols: Sequence[str]) -> list[str]:
    """The symbols that a text names as whole words."""
    return [
        symbol
        for symbol in symbols
        if re.search(rf"(?<![\w/-]){re.escape(symbol)}(?![\w/-]|:\w)", words, re.IGNORECASE) is not None
    ]
