"""Publishes recorded messages with the same parser, envelope and publisher as live ones."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from config.schedule import Schedule
from config.settings import Settings
from producers.counters import FrameCounts
from producers.exchanges import REGISTRY
from producers.exchanges.model import UNRECOGNISED, Parsed, frame_time_us
from producers.kafka.envelope import REPLAY, Envelope, envelopes
from producers.kafka.publisher import DeliveryError, KafkaPublisher
from producers.replay.recording import Recording, RecordingError, why_not
from producers.timestamps import now_us

_BATCH = 1_000
_BATCH_BYTES = 4 << 20
# The check of a file reads at most so many bytes of each message.
_LONGEST_CHECKED = 1 << 20


class ReplayReport(FrameCounts):
    """Counts of a replay."""


# Called with the report so far and the share of the input that was read, 0 to 1.
Progress = Callable[[ReplayReport, float], None]


def replay(
    files: Sequence[Path],
    exchange: str,
    publisher: KafkaPublisher,
    settings: Settings,
    *,
    speed: float | None = None,
    progress: Progress | None = None,
    force: bool = False,
    unlisted: bool = False,
) -> ReplayReport:
    """Publish the recordings, one after the other, and wait until the broker has acknowledged everything.

    Every file is checked before the first message is published.

    Args:
        files: recordings (see producers.replay.recording).
        exchange: the exchange code of the recordings.
        publisher: the caller closes it.
        settings: the size of the largest message.
        speed: how many times as fast as recorded; None: as fast as possible.
        progress: called about every 1,000 messages, and at the end.
        force: publish the readable part of a damaged file, and files that seem to be no recordings of the exchange.
        unlisted: accept a code that no parser has. Its messages are published unparsed, and become dead letters.

    Raises:
        RecordingError: no parser has the code, or a file is damaged or no recording. Nothing was published. With
            `force`, or if the receive times do not fit, the messages before the error were published.
        DeliveryError: messages were not delivered.
    """
    parse = _parser(exchange, unlisted=unlisted)
    if not force:
        for path in files:
            _check(path, exchange, settings)
    report = ReplayReport()
    if progress is not None:
        progress(report, 0.0)
    started = time.monotonic()
    try:
        for number, path in enumerate(files):
            before = report.frames
            with Recording(path, longest_message=settings.kafka_max_message_bytes) as recording:
                _replay_one(recording, exchange, parse, publisher, report, speed, _share(progress, number, len(files)))
    except DeliveryError as error:
        raise DeliveryError(f"{path}, stopped {report.frames - before:,} messages into it: {error}") from error
    except RecordingError:
        publisher.flush()
        raise
    publisher.flush()
    report.seconds = time.monotonic() - started
    if progress is not None:
        progress(report, 1.0)
    return report


def _parser(exchange: str, *, unlisted: bool) -> Callable[[bytes], Parsed]:
    known = REGISTRY.get(exchange)
    if known is not None:
        return known.parse
    if not unlisted:
        raise RecordingError(
            f"{exchange}: no such exchange code, use one of {', '.join(REGISTRY)}. Nothing was published; with"
            " --unlisted each message goes to the DLQ under this code"
        )
    return lambda _frame: UNRECOGNISED


def _check(path: Path, exchange: str, settings: Settings) -> None:
    longest = min(settings.kafka_max_message_bytes, _LONGEST_CHECKED)
    with Recording(path, longest_message=longest) as recording:
        recording.check()
        known = REGISTRY.get(exchange)
        why = why_not(recording, known) if known is not None else ""
    if why:
        raise RecordingError(
            f"{path}: is no recording of {exchange}, one message a line: it seems to be {why}. Nothing was published;"
            " with --force each of its lines goes to the DLQ"
        )


def _share(progress: Progress | None, number: int, files: int) -> Progress:
    if progress is None:
        return lambda _report, _fraction: None
    return lambda report, fraction: progress(report, (number + fraction) / files)


def _replay_one(
    recording: Recording,
    exchange: str,
    parse: Callable[[bytes], Parsed],
    publisher: KafkaPublisher,
    report: ReplayReport,
    speed: float | None,
    progress: Progress,
) -> None:
    schedule = Schedule(speed, time.monotonic()) if speed is not None else None
    batch: list[Envelope] = []
    size = 0

    def send() -> None:
        nonlocal size
        publisher.publish(batch, REPLAY)
        report.published += len(batch)
        batch.clear()
        size = 0
        progress(report, recording.fraction)

    try:
        for frame in recording:
            parsed = parse(frame)
            report.count(frame, parsed)
            due_s = schedule.due_s(frame_time_us(parsed)) if schedule is not None else 0.0
            if due_s > time.monotonic():
                send()
                _wait(publisher, due_s)
            recorded_at = recording.received_at()
            received_at = now_us() if recorded_at is None else recorded_at
            batch += envelopes(exchange, frame, parsed, received_at)
            size += len(frame)
            if len(batch) >= _BATCH or size >= _BATCH_BYTES:
                send()
    except RecordingError:
        send()
        raise
    send()


def _wait(publisher: KafkaPublisher, until_s: float) -> None:
    while (left_s := until_s - time.monotonic()) > 0:
        publisher.poll(left_s)
