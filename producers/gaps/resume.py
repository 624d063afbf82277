"""Reads from the broker where a producer continues: the last published trades, and the gaps still open."""

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
from config.retry import retry_until_stopped
from config.settings import Settings
from producers.exchanges.model import Exchange, Trade, id_number
from producers.gaps.events import GapEvent, read_event
from producers.gaps.gap import OPEN, Gap
from producers.gaps.id_ranges import IdRanges
from producers.kafka.envelope import REST, SOURCE, Envelope, decode
from producers.timestamps import now_us

_TIMEOUT_S = 5.0
_BATCH = 5_000
# Messages read at first from the end of a partition. While a symbol is not among them, four times as many are read.
_FIRST_LOOK = 10_000
_KEPT = 2_000
# A window may begin inside a frame that lists its trades newest first. So its first trades are not taken as a start.
_MARGIN = 100
_log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ResumePoint:
    """Where earlier runs of the producer ended, by symbol.

    `published` has the last published trades without a hole, oldest first: a trade that is not among them is missing.
    `open` has the gaps left open. `unknown` symbols have no trade among the messages read, though the topic has older
    ones.
    """

    published: dict[str, list[Trade]] = field(default_factory=dict)
    open: dict[str, list[Gap]] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)


def resume_reader(
    settings: Settings, exchange: Exchange, symbols: Sequence[str], most: int
) -> Callable[[threading.Event], ResumePoint]:
    """A function that reads the resume point of a process that starts now.

    It tries until the broker answers or its event is set.
    """
    before_us = now_us()

    def read(stop: threading.Event) -> ResumePoint:
        def tell(error: BaseException, _attempt: int) -> None:
            _log.warning(
                "the last published trades are not known yet, trying again", exchange=exchange.code, error=str(error)
            )

        if stop.is_set():
            return ResumePoint()
        retrying = retry_until_stopped(stop, (KafkaException,), tell)
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
        before_us: start of this run, µs (UTC). Messages received later are its own.
        most: upper bound on the messages read from a partition.
        stop: ends the reading early; the result is then of no use.

    Raises:
        KafkaException: the broker does not answer.
    """
    consumer = _consumer(settings)
    try:
        found = ResumePoint()
        windows = {symbol: _Window(deque(maxlen=_KEPT)) for symbol in symbols}
        is_whole = _read_trades(consumer, settings.raw_topic(exchange.code), exchange, windows, before_us, most, stop)
        for symbol, window in windows.items():
            if trades := window.complete(exchange.ids_of is not None):
                found.published[symbol] = trades
            elif not is_whole:
                found.unknown.append(symbol)
        for gap in _read_gaps(consumer, settings.gaps_topic, exchange, stop):
            is_order_known = gap.ids is not None or exchange.ids_of is None
            if gap.state == OPEN and is_order_known and gap.symbol in windows and gap.detected_us < before_us:
                found.open.setdefault(gap.symbol, []).append(gap)
        return found
    finally:
        consumer.close()


def read_gaps(settings: Settings, exchange: Exchange) -> list[Gap]:
    """Every gap of the exchange's markets, in its newest state.

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
    """Trades of one symbol in the topic's order, each with whether a stream brought it."""

    trades: deque[tuple[Trade, bool]]
    highest: Trade | None = None

    def add(self, trade: Trade, streamed: bool) -> None:
        self.trades.append((trade, streamed))
        if streamed and (self.highest is None or _number(trade) >= _number(self.highest)):
            self.highest = trade

    @property
    def is_streamed(self) -> bool:
        """Whether a trade from a stream was read."""
        return self.highest is not None

    def complete(self, ordered: bool) -> list[Trade]:
        """The end of the window, from the trade on after which no published trade is missing."""
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
    """Fill the windows. Returns whether all messages that the topic ever had were read."""
    keys = {f"{exchange.code}:{symbol}".encode(): window for symbol, window in windows.items()}
    ends = _ends(consumer, topic)
    size = min(_FIRST_LOOK, most)
    while not stop.is_set():
        starts = {number: max(low, high - size) for number, (low, high) in ends.items()}
        for one in windows.values():
            one.trades.clear()
            one.highest = None
        for message in _messages(consumer, topic, starts, ends, stop):
            window = keys.get(message.key() or b"")
            source = dict(message.headers() or []).get(SOURCE, b"").decode(errors="replace")
            envelope = _envelope(message) if window is not None and source in {"", REST} else None
            if window is not None and envelope is not None and envelope.received_at < before_us:
                window.add(_trade(envelope), not source)
        is_read = all(starts[number] == low for number, (low, _) in ends.items())
        if is_read or size >= most or all(window.is_streamed for window in windows.values()):
            return is_read and not any(low for low, _ in ends.values())
        size = min(size * 4, most)
    return False


def _envelope(message: Message) -> Envelope | None:
    """Decode a message; None if it is no trade. Other programs may publish anything to the topic."""
    try:
        envelope = decode(message.value())
    except msgspec.DecodeError:
        return None
    return envelope if envelope.trade_id else None


def _trade(envelope: Envelope) -> Trade:
    # Payloads are left out: they would take most of the memory.
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
        note = read_event(message.value())
        if note is None or note.exchange != exchange.code:
            continue
        key = note.exchange_symbol, note.detected_at, note.from_id, note.from_time
        if key not in newest or newest[key].noted_at <= note.noted_at:
            newest[key] = note
    ordered = exchange.ids_of is not None
    return [_gap(note, ordered) for note in newest.values()]


def _gap(note: GapEvent, ordered: bool) -> Gap:
    """The gap of an event. Events do not say which ids were published meanwhile, so all are requested again."""
    has_ids = ordered and note.from_id.isdecimal() and note.to_id.isdecimal()
    ids = IdRanges(int(note.from_id), int(note.to_id)) if has_ids else None
    return Gap(
        note.exchange_symbol,
        note.from_id,
        note.to_id,
        note.from_time,
        note.to_time,
        note.ids_missing,
        note.detected_at,
        ids,
        note.state,
        note.healed_at,
    )


def _ends(consumer: Consumer, topic: str) -> dict[int, tuple[int, int]]:
    """First and next offset by partition; empty if the topic does not exist yet."""
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
    """Messages from `starts` up to the ends, in order within each partition.

    Raises:
        KafkaException: the broker stopped answering.
    """
    left = {number for number, (_, end) in ends.items() if starts[number] < end}
    consumer.assign([TopicPartition(topic, number, starts[number]) for number in left])
    deadline = time.monotonic() + _TIMEOUT_S
    while left and not stop.is_set():
        for message in consumer.consume(_BATCH, 0.1):
            deadline = time.monotonic() + _TIMEOUT_S
            number = message.partition()
            error = message.error()
            if error is None and message.offset() < ends[number][1]:
                yield message
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                raise KafkaException(error)
            if error is not None or message.offset() >= ends[number][1] - 1:
                left.discard(number)
        if time.monotonic() > deadline:
            raise KafkaException(KafkaError(KafkaError._TIMED_OUT, f"{topic} cannot be read"))
