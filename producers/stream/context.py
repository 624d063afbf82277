"""What a connection needs from its producer."""

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
    """Takes the frames of all connections. A call returns once the publisher has room.

    Raises (both methods):
        DeliveryError: the publisher cannot go on.
    """

    async def take(self, frame: bytes) -> Parsed:
        """Parse and publish a frame, and return what it held."""

    async def take_parsed(self, frame: bytes, parsed: Parsed) -> None:
        """Publish a frame that is parsed already."""


class LossListener(Protocol):
    """Is told of symbols whose trades may be missing."""

    def lost(self, symbols: Sequence[str]) -> None:
        """The connection of these symbols broke."""

    def resumed(self, symbols: Sequence[str]) -> None:
        """The connection of these symbols is up, or up again."""


@dataclass(frozen=True, slots=True)
class StreamContext:
    """What all connections of a producer share.

    `endpoint` and `rest_endpoint` replace the exchange's URLs. If only the first is given, the exchange's REST
    interface is not asked.
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
        """Whether a REST interface may be asked."""
        return self.rest_endpoint is not None or self.endpoint is None

    def count_renewal(self) -> None:
        """Note that a connection was replaced before its end of life."""
        self.report.renewals += 1
        metrics.RENEWALS.labels(self.exchange.code).inc()
