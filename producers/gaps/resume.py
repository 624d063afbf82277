"""Reads the resume point of a producer from the broker: the last published trades, and the gaps still open."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec
import structlog
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition
from tenacity import RetryError

from config.connections import kafka_client
from config.process.retry import retry_until_stopped
from config.settings import Settings
from producers.exchanges.model import Exchange, Trade, id_number
from producers.gaps.events import GapEvent, read_event
from producers.gaps.gap import OPEN, Gap
from producers.gaps.id_ranges import IdRanges
from producers.kafka.envelope import REST, SOURCE, Envelope, decode
from producers.timestamps import now_us

_TIMEOUT_S = 5.0
_BATCH = 5_000
# So many messages at the end of a partition are read first. If a symbol is not among them, four times as many are read.
_FIRST_LOOK = 10_000
_KEPT = 2_000
# A window may begin inside a frame that lists its trades newest first, so it must not start with one of its first ids.
_MARGIN = 100
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ResumePoint:
    """The position at which earlier runs of the producer ended, by symbol.

    `published`: the last published trades, oldest first. The list has every trade that was published since its first
    one. `open`: the gaps that are still open. `unknown`: symbols without a trade among the messages that were read,
    although the topic has older messages.
    """

    published: dict[str, list[Trade]] = field(default_factory=dict)
    open: dict[str, list[Gap]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def resume_reader(
    settings: Settings, exchange: Exchange, symbols: Sequence[str], most: int
) -> Callable[[threading.Event], ResumePoint]:
    """A function that reads the resume point of a producer that starts now.

    The function tries until the broker answers or its event is set. `most`: as in `read_resume_point`.
    """
    before_us = now_us()

    def read(stop: threading.Event) -> ResumePoint:
        def log_failure(error: BaseException, _attempt: int) -> None:
            _log.warning(
                "the last published trades are not known yet, trying again", exchange=exchange.code, error=str(error)
            )

        if stop.is_set():
            return ResumePoint()
        retrying = retry_until_stopped(stop, (KafkaException,), log_failure)
        try:
            return retrying(read_resume_point, settings, exchange, symbols, before_us, most, stop)
        except RetryError:
            return ResumePoint()

    return read


def read_resume_point(
    settings: Settings, exchange: Exchange, symbols: Sequence[str], before_us: int, most: int, stop: threading.Event
) -> ResumePoint:
    """Read the end of the exchange's raw topic, and its gaps.

    Args:
        settings: the broker and the topics.
        exchange: the producer's exchange.
        symbols: in the exchange's own spelling.
        before_us: start of this run, µs (UTC). Messages that were received later are of this run.
        most: upper bound on the messages that are read from a partition.
        stop: ends the reading early; the result is then incomplete.

    Raises:
        KafkaException: the broker does not answer.
    """
    consumer = _consumer(settings)
    try:
        resume_point = ResumePoint()
        windows = {symbol: _Window(deque(maxlen=_KEPT)) for symbol in symbols}
        is_whole = _read_trades(consumer, settings.raw_topic(exchange.code), exchange, windows, before_us, most, stop)
        for symbol, window in windows.items():
            if trades := window.complete(exchange.ids_of is not None):
                resume_point.published[symbol] = trades
            elif not is_whole:
                resume_point.unknown.append(symbol)
        for gap in _read_gaps(consumer, settings.gaps_topic, exchange, stop):
            is_order_known = gap.ids is not None or exchange.ids_of is None
            if gap.state == OPEN and is_order_known and gap.symbol in windows and gap.detected_us < before_us:
                resume_point.open.setdefault(gap.symbol, []).append(gap)
        return resume_point
    finally:
        consumer.close()


def read_gaps(settings: Settings, exchange: Exchange) -> list[Gap]:
    """All gaps of the exchange's markets, each in its newest state.

    Raises:
        KafkaException: the broker does not answer.
    """
    consumer = _consumer(settings)
    try:
        return _read_gaps(consumer, settings.gaps_topic, exchange, threading.Event())
    finally:
        consumer.close()


def _consumer(settings: Settings) -> Consumer:
    return Consumer(
        {
            **kafka_client(settings),
            "group.id": "medallion-producer",  # never joined: partitions are assigned, nothing is committed
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "log_level": 0,
        }
    )


@dataclass(slots=True)
class _Window:
    """Trades of one symbol in the topic's order, each with whether it is from a live stream."""

    trades: deque[tuple[Trade, bool]]
    highest: Trade | None = None

    def add(self, trade: Trade, streamed: bool) -> None:
        self.trades.append((trade, streamed))
        if streamed and (self.highest is None or _number(trade) >= _number(self.highest)):
            self.highest = trade

    @property
    def is_streamed(self) -> bool:
        """Whether the window has a trade from a live stream."""
        return self.highest is not None

    def complete(self, ordered: bool) -> list[Trade]:
        """The trades at the end of the window: all that were published since the first of them."""
        if not ordered:
            return [trade for trade, _ in self.trades]
        if self.highest is None:
            return []
        streamed = [_number(trade) for trade, is_streamed in self.trades if is_streamed]
        start = max(streamed[:_MARGIN]) if len(streamed) > _MARGIN else _number(self.highest)
        later = [trade for trade, _ in self.trades if _number(trade) >= start]
        return sorted([self.highest, *later], key=_number)


def _number(trade: Trade) -> int:
    return id_number(trade.trade_id) or 0


def _read_trades(
    consumer: Consumer,
    topic: str,
    exchange: Exchange,
    windows: dict[str, _Window],
    before_us: int,
    most: int,
    stop: threading.Event,
) -> bool:
    """Fill the windows. Returns whether every message that the topic ever had was read."""
    keys = {f"{exchange.code}:{symbol}".encode(): window for symbol, window in windows.items()}
    ends = _ends(consumer, topic)
    size = min(_FIRST_LOOK, most)
    while not stop.is_set():
        starts = {number: max(low, high - size) for number, (low, high) in ends.items()}
        for window in windows.values():
            window.trades.clear()
            window.highest = None
        for message in _messages(consumer, topic, starts, ends, stop):
            of_symbol = keys.get(message.key() or b"")
            source = _source(message)
            envelope = _envelope(message) if of_symbol is not None and source in {"", REST} else None
            if of_symbol is not None and envelope is not None and envelope.received_at < before_us:
                of_symbol.add(_trade(envelope), not source)
        is_read = all(starts[number] == low for number, (low, _) in ends.items())
        if is_read or size >= most or all(window.is_streamed for window in windows.values()):
            return is_read and not any(low for low, _ in ends.values())
        size = min(size * 4, most)
    return False


def _envelope(message: Message) -> Envelope | None:
    """The envelope of a message; None if it has no trade. Other programs may publish anything to the topic."""
    try:
        envelope = decode(message.value() or b"")
    except msgspec.DecodeError:
        return None
    return envelope if envelope.trade_id else None


def _source(message: Message) -> str:
    """The source that a message's header names: "" for a live stream, "?" for one that cannot be read."""
    try:
        headers = dict(message.headers() or [])
    except (UnicodeDecodeError, SystemError):  # the client library cannot return a name that is not UTF-8
        return "?"
    return (headers.get(SOURCE, b"") or b"").decode(errors="replace")


def _trade(envelope: Envelope) -> Trade:
    # The payload is left out, because it would take most of the memory.
    return Trade(
        envelope.symbol,
        envelope.trade_id,
        envelope.price,
        envelope.quantity,
        envelope.timestamp,
        envelope.side,
        envelope.sequence,
        "{}",
        envelope.kind,
        envelope.matches,
    )


def _read_gaps(consumer: Consumer, topic: str, exchange: Exchange, stop: threading.Event) -> list[Gap]:
    """Every gap in its newest state."""
    newest: dict[tuple[str, int, str, int], GapEvent] = {}
    ends = _ends(consumer, topic)
    for message in _messages(consumer, topic, {number: low for number, (low, _) in ends.items()}, ends, stop):
        event = read_event(message.value() or b"")
        if event is None or event.exchange != exchange.code:
            continue
        key = event.exchange_symbol, event.detected_at, event.from_id, event.from_time
        if key not in newest or newest[key].noted_at <= event.noted_at:
            newest[key] = event
    ordered = exchange.ids_of is not None
    return [_gap(event, ordered) for event in newest.values()]


def _gap(event: GapEvent, ordered: bool) -> Gap:
    """The gap of an event. An event does not name the ids that were published since, so all count as missing."""
    first, last = (id_number(event.from_id), id_number(event.to_id)) if ordered else (None, None)
    ids = IdRanges(first, last) if first is not None and last is not None and first <= last else None
    return Gap(
        event.exchange_symbol,
        event.from_id,
        event.to_id,
        event.from_time,
        event.to_time,
        event.ids_missing,
        event.detected_at,
        ids,
        event.state,
        event.healed_at,
    )


def _ends(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """The first offset and the next one, by partition; empty if the topic does not exist yet."""
    metadata = consumer.list_topics(topic, timeout=_TIMEOUT_S).topics[topic]
    return {
        number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT_S)
        for number in metadata.partitions
    }


def _messages(
    consumer: Consumer,
    topic: str,
    starts: Mapping[int, int],
    ends: Mapping[int, tuple[int, int]],
    stop: threading.Event,
) -> Iterator[Message]:
    """The messages from `starts` up to `ends`, in order within each partition.

    Raises:
        KafkaException: the broker stopped answering.
    """
    unread = {number for number, (_, end) in ends.items() if starts[number] < end}
    consumer.assign([TopicPartition(topic, number, starts[number]) for number in unread])
    deadline = time.monotonic() + _TIMEOUT_S
    while unread and not stop.is_set():
        for message in consumer.consume(_BATCH, 0.1):
            deadline = time.monotonic() + _TIMEOUT_S
            number = message.partition()
            error = message.error()
            if error is None and message.offset() < ends[number][1]:
                yield message
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if error is not None or message.offset() >= ends[number][1] - 1:
                unread.discard(number)
        if time.monotonic() > deadline:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic} cannot be read"))
