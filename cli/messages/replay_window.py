"""`medallion replay --from … --to …`: publishes a past window of Raw again, hot or in Iceberg."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Annotated

import msgspec
import orjson
import typer

from cli.common.context import err
from config.errors import MedallionError
from config.schedule import Schedule
from config.settings import Settings
from producers.counters import FrameCounts
from producers.kafka.envelope import REPLAY, Envelope, decode
from producers.kafka.publisher import KafkaPublisher
from serving.errors import ApiError
from serving.market_data.hot_reader import HotReader
from serving.market_data.markets import Markets
from serving.replay.options import read_options
from serving.replay.source import Plan, RawSource

_BATCH = 1_000
_LONGEST_POLL_S = 0.5
# The interface names its members so; here they are options.
_MEMBER = re.compile(r"'(exchange|from|to|pin)'")
# Called with the counts so far and the finished part, 0 to 1.
Show = Callable[[FrameCounts, float], None]
SinceOption = Annotated[
    str | None, typer.Option("--from", help="Without files: replay messages of Raw received from this time on (UTC).")
]
UntilOption = Annotated[
    str | None, typer.Option("--to", help="With --from: received before this time, at most 24 hours later.")
]
PinOption = Annotated[
    str | None, typer.Option("--pin", help="With --from: read Raw from this pin; ClickHouse must have its views.")
]


class ReplayWindowError(MedallionError):
    """The window cannot be replayed; the message says what to change."""


def check_source(files: Sequence[Path] | None, since: str | None, until: str | None, pin: str | None) -> None:
    """Check that a replay has either files or both ends of a window.

    Raises:
        typer.BadParameter: it has neither, both, or only one end.
    """
    if files and (since or until or pin):
        raise typer.BadParameter("give files, or --from and --to, not both", param_hint="--from")
    if not files and not (since and until):
        raise typer.BadParameter(
            "give recordings, or --from and --to to read the messages from Raw", param_hint="FILES"
        )


def replay_window(
    settings: Settings,
    exchange: str,
    since: str,
    until: str,
    *,
    speed: float | None = None,
    pin: str = "",
    show: Show = lambda _counts, _share: None,
) -> FrameCounts:
    """Publish the Kafka messages of an exchange that producers received in [since, until) again, unchanged.

    Silver counts trades that it has as duplicates. Messages that are no envelopes of ours are left out.

    Args:
        settings: of the stack to read from, and of the broker to publish to.
        exchange: the exchange code.
        since: ISO 8601; UTC if it has no offset.
        until: the same, exclusive.
        speed: times as fast as received; None: as fast as possible.
        pin: the pin whose Raw is read; "": the present rows.
        show: called after each batch with the counts so far and the finished part, 0 to 1.

    Raises:
        ReplayWindowError: the options are wrong, or ClickHouse does not answer.
        DeliveryError: something was not delivered.
    """
    started = time.monotonic()
    options = {"exchange": exchange, "from": since, "to": until, "pin": pin}
    counts = FrameCounts()
    try:
        # The event loop only runs while ClickHouse is asked, so that Ctrl-C works at once everywhere else.
        with asyncio.Runner() as runner:
            reader = runner.run(_connect(settings))
            try:
                source = RawSource(reader)
                window = read_options(orjson.dumps(options).decode(), Markets(settings.symbols_file))
                plan = runner.run(source.plan(window, time.time_ns() // 1000))
                _warn(plan.missing)
                with KafkaPublisher(settings) as publisher:
                    envelopes = _envelopes(runner, source, plan)
                    for batch in _batches(envelopes, publisher, Schedule(speed, started) if speed else None):
                        publisher.publish(batch, REPLAY)
                        counts.frames += len(batch)
                        counts.trades += sum(1 for envelope in batch if envelope.trade_id)
                        counts.published += len(batch)
                        show(counts, min(counts.published / plan.messages, 1.0))
                    publisher.flush()
            finally:
                runner.run(reader.close())
    except ApiError as error:
        raise ReplayWindowError(_MEMBER.sub(r"--\1", error.reason)) from error
    counts.unrecognised = counts.frames - counts.trades
    counts.seconds = time.monotonic() - started
    return counts


async def _connect(settings: Settings) -> HotReader:
    return HotReader(settings)


def _envelopes(runner: asyncio.Runner, source: RawSource, plan: Plan) -> Iterator[Envelope]:
    answers = source.envelopes(plan)
    left_out = 0
    while (answer := runner.run(_next(answers))) is not None:
        for line in answer:
            try:
                yield decode(line)
            except msgspec.DecodeError:
                left_out += 1
    if left_out:
        err.print(f"Left out: {left_out:,} messages that none of our producers sent.", style="yellow")


async def _next(answers: AsyncIterator[IO[bytes]]) -> IO[bytes] | None:
    return await anext(answers, None)


def _batches(
    envelopes: Iterable[Envelope], publisher: KafkaPublisher, schedule: Schedule | None
) -> Iterator[list[Envelope]]:
    batch: list[Envelope] = []
    for envelope in envelopes:
        if schedule is not None and (due_s := schedule.due_s(envelope.received_at)) > time.monotonic():
            if batch:
                yield batch
                batch = []
            while (left_s := due_s - time.monotonic()) > 0:
                publisher.poll(min(left_s, _LONGEST_POLL_S))
        batch.append(envelope)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _warn(missing: Iterable[str]) -> None:
    for sentence in missing:
        err.print(f"Missing: {sentence}", style="yellow")
