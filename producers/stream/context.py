"""The parts of a producer that its connections use."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from producers import metrics
from producers.counters import LiveCounters
from producers.exchanges.model import Exchange, Parsed
from producers.options import ProducerOptions
from producers.venue_limits import VenueLimits


class FrameSink(Protocol):
    """Takes the frames of all connections. A call returns once the publisher has room.

    Raises (both methods):
        DeliveryError: the publisher cannot go on.
    """

    async def take(self, frame: bytes) -> Parsed:
        """Parse and publish a frame, and return its content."""

    async def take_parsed(self, frame: bytes, parsed: Parsed) -> None:
        """Publish a frame that is already parsed."""


class LossListener(Protocol):
    """Gets the symbols whose trades may be missing."""

    def lost(self, symbols: Sequence[str]) -> None:
        """The connection of these symbols broke."""

    def resumed(self, symbols: Sequence[str]) -> None:
        """The connection of these symbols is up, or up again."""


@dataclass(frozen=True, slots=True)
class StreamContext:
    """The parts and settings that all connections of a producer share.

    `endpoint` and `rest_endpoint` replace the exchange's URLs. If only `endpoint` is given, the exchange's own REST
    interface is not used.
    """

    exchange: Exchange
    options: ProducerOptions
    venue_limits: VenueLimits
    counters: LiveCounters
    frames: FrameSink
    losses: LossListener
    endpoint: str | None = None
    rest_endpoint: str | None = None

    @property
    def asks_rest(self) -> bool:
        """Whether a REST interface may be used."""
        return self.rest_endpoint is not None or self.endpoint is None

    def count_rotation(self) -> None:
        """Count a connection that was replaced before the end of its lifetime."""
        self.counters.rotations += 1
        metrics.ROTATIONS.labels(self.exchange.code).inc()
        metrics.ROTATIONS_OLD_NAME.labels(self.exchange.code).inc()
