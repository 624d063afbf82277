"""Subscribes to the symbols of one connection. A refused symbol does not stop the others.

Exchanges refuse in four ways: symbol by symbol (Kraken, OKX); the whole message because of one unknown symbol, which
the answer may name (Bybit, Coinbase); by an acknowledgement after which no trades come (Binance); and by no answer.
After a refusal, or without an answer, the symbols are sent again without the named symbol, or in halves, until the
refused symbol is alone. That symbol is tried again at long intervals, because it may be listed later.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from config.process.retry import pause_s
from producers.exchanges.model import ACK, Control, Exchange, Parsed, SubscriptionAnswer, Trades, chunks
from producers.stream.symbol_states import SymbolState, SymbolStatuses

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """The exchange's message, and the time of the next try on the monotonic clock, s."""

    words: str
    again_s: float


@dataclass(frozen=True, slots=True)
class SubscriptionTimeouts:
    """How long to wait for an answer (`answer_s`), and until a refused symbol is tried again (`again_s`)."""

    answer_s: float
    again_s: float


@dataclass(slots=True)
class _Sent:
    """A message that was sent, and those of its symbols that have no answer yet."""

    symbols: list[str]
    sent_s: float


@dataclass(slots=True)
class _Planned:
    """A message that is to be sent."""

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
        """`refusals`: those of earlier connections, by symbol. It is updated for later connections."""
        self.statuses = statuses
        self._exchange, self._refusals, self._timeouts = exchange, refusals, timeouts
        self._log = _log.bind(exchange=exchange.code)
        self._sent: dict[int, _Sent] = {}
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
    def is_answered(self) -> bool:
        """Whether every symbol is answered, and at least one is accepted."""
        states = {self.statuses.state(symbol) for symbol in self._symbols}
        return SymbolState.SUBSCRIBING not in states and states != {SymbolState.REFUSED}

    @property
    def accepted(self) -> list[str]:
        """The symbols that are accepted: acknowledged or streaming."""
        up = {SymbolState.ACKNOWLEDGED, SymbolState.STREAMING}
        return [symbol for symbol in self._symbols if self.statuses.state(symbol) in up]

    def due(self, now_s: float) -> list[str]:
        """The messages to send now."""
        self._give_up_waiting(now_s)
        ready = [planned for planned in self._planned if planned.due_s <= now_s]
        if self._is_careful:
            ready = ready[: 0 if self._sent else 1]
        self._planned = [planned for planned in self._planned if planned not in ready]
        messages = []
        for planned in ready:
            # A symbol that streams already needs no subscription.
            symbols = [name for name in planned.symbols if self.statuses.state(name) is not SymbolState.STREAMING]
            if symbols:
                self._number += 1
                self._sent[self._number] = _Sent(symbols, now_s)
                messages.append(self._exchange.subscribe(symbols, self._number))
        return messages

    def handle(self, parsed: Parsed, now_s: float) -> list[str]:
        """Handle a frame of the connection. Returns the symbols that are newly accepted."""
        if isinstance(parsed, Trades):
            self.statuses.observe(parsed.records)
            return []
        if not isinstance(parsed, Control) or parsed.answer is None:
            return []
        self.settle(now_s)
        answer = parsed.answer
        if parsed.kind == ACK:
            return self._acknowledge(answer, now_s)
        self._refuse(answer, now_s)
        return []

    def settle(self, now_s: float) -> list[str]:
        """Handle the trades since the last call. Returns the symbols that are newly accepted."""
        begun = self.statuses.settle(now_s)
        if begun:
            self._answered(begun)
        return [symbol for symbol, before in begun.items() if before is not SymbolState.ACKNOWLEDGED]

    def unknown(self, symbol: str, words: str) -> None:
        """Treat an acknowledged symbol without trades as refused, because REST does not know it."""
        if self.statuses.state(symbol) is SymbolState.ACKNOWLEDGED:
            self._log.error("symbol refused", symbol=symbol, words=words)
            self.statuses.refused(symbol, words)

    def _acknowledge(self, answer: SubscriptionAnswer, now_s: float) -> list[str]:
        message = self._message(answer)
        sent = message.symbols if message is not None else []
        if answer.symbols is not None:
            named = [name for text in answer.symbols if (name := self.statuses.name(text)) is not None]
        else:
            # "Already subscribed" names one symbol, and says nothing about the others.
            named = named_in(answer.words, sent) if answer.words else [*sent]
        accepted_before = {*self.accepted}
        for symbol in named:
            self.statuses.acknowledged(symbol, now_s)
        self._answered(named)
        if answer.words and message is not None and not self._exchange.answers_each_symbol:
            self._send_again(message, now_s)
        return [symbol for symbol in named if symbol not in accepted_before]

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
            # The answer may only repeat the request, so each of these symbols is tried alone.
            self._planned += [_Planned([symbol], now_s) for symbol in named]
            message.symbols = [symbol for symbol in message.symbols if symbol not in named]
        else:
            self._log.warning("subscription refused, trying again in halves", symbols=len(message.symbols),
                              words=answer.words)  # fmt: skip
            self._halve(message, now_s)
            return
        self._send_again(message, now_s)

    def _refuse_one(self, symbol: str, words: str, now_s: float) -> None:
        words = words or "refused without a reason"
        is_new = symbol not in self._refusals
        self._refusals[symbol] = Refusal(words, now_s + self._timeouts.again_s)
        self.statuses.refused(symbol, words)
        self._planned.append(_Planned([symbol], now_s + self._timeouts.again_s))
        for message in self._sent.values():
            message.symbols = [other for other in message.symbols if other != symbol]
        self._forget_answered()
        if is_new:
            self._log.error("symbol refused", symbol=symbol, words=words, again_in_s=self._timeouts.again_s)

    def _answered(self, symbols: Collection[str]) -> None:
        for symbol in symbols:
            self._refusals.pop(symbol, None)
            self._tries.pop(symbol, None)
        for message in self._sent.values():
            message.symbols = [symbol for symbol in message.symbols if symbol not in symbols]
        self._forget_answered()

    def _forget_answered(self) -> None:
        self._sent = {number: message for number, message in self._sent.items() if message.symbols}

    def _send_again(self, message: _Sent, now_s: float) -> None:
        """Send the symbols of a refused message again that have no answer yet."""
        if message.symbols:
            self._planned.append(_Planned(message.symbols, now_s))
            message.symbols = []
        self._forget_answered()

    def _halve(self, message: _Sent, now_s: float) -> None:
        half = (len(message.symbols) + 1) // 2
        self._planned += [_Planned([*part], now_s) for part in chunks(message.symbols, half)]
        message.symbols = []
        self._forget_answered()

    def _message(self, answer: SubscriptionAnswer) -> _Sent | None:
        """The message that an answer is about: by number, by a symbol that it names, otherwise the oldest one."""
        if answer.number is not None:
            return self._sent.get(answer.number)
        named = [*(answer.symbols or ())]
        for message in self._sent.values():
            if set(named) & set(message.symbols) or (not named and named_in(answer.words, message.symbols)):
                return message
        return next(iter(self._sent.values()), None) if answer.symbols is None else None

    def _give_up_waiting(self, now_s: float) -> None:
        """Send unanswered messages again: an exchange may silently drop a message because of one symbol in it."""
        late = [message for message in self._sent.values() if now_s - message.sent_s > self._timeouts.answer_s]
        if not late:
            return
        self.settle(now_s)
        self._is_careful = True
        for message in [message for message in late if message.symbols]:
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
