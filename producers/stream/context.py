"""What a connection needs of its producer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from producers import metrics
from producers.counters import LiveReport
from producers.exchanges.model import Exchange, Parsed
from producers.options import ProducerOptions
from producers.venue_limits import VenueLimits


class FrameSink(Protocol):
    """Takes the frames of all connections; returns when there was room for one.

    Raises (both):
        PublishError: the publisher cannot go on.
    """

    async def take(self, frame: bytes) -> Parsed:
        """Parse and publish a frame; what it was."""

    async def take_parsed(self, frame: bytes, parsed: Parsed) -> None:
        """Publish a frame that somebody else has parsed."""


class LossListener(Protocol):
    """Is told of the symbols whose trades may have been missed."""

    def lost(self, symbols: Sequence[str]) -> None:
        """Their connection broke."""

    def resumed(self, symbols: Sequence[str]) -> None:
        """Their connection is there, or back."""


@dataclass(frozen=True, slots=True)
class StreamContext:
    """What all connections of a producer share.

    `endpoint` and `rest_endpoint` take the place of the exchange's own; where only the first is given, the exchange's
    REST interface is not asked.
    """

    exchange: Exchange
    options: ProducerOptions
    venue_limits: VenueLimits
    report: LiveReport
    frames: FrameSink
    losses: LossListener
    endpoint: str | None = None
    rest_endpoint: str | None = None

    @property
    def asks_rest(self) -> bool:
        """Whether there is a REST interface that may be asked."""
        return self.rest_endpoint is not None or self.endpoint is None

    def count_renewal(self) -> None:
        """A connection was replaced before its end of life."""
        self.report.renewals += 1
        metrics.RENEWALS.labels(self.exchange.code).inc()
