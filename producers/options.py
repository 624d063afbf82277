"""The timings and bounds of a live producer."""

from __future__ import annotations

from dataclasses import dataclass

from producers.exchanges.model import Rate


@dataclass(frozen=True, slots=True)
class ProducerOptions:
    """The timings (s) and bounds of a live producer. Tests use shorter timings."""

    # A larger frame ends the connection.
    max_frame_bytes: int = 16_777_216
    # Limit for opening and for closing a connection.
    open_s: float = 10.0
    close_s: float = 2.0
    # A connection without a frame for this time is closed. None: the exchange's own limit.
    idle_s: float | None = None
    # Longest pause between two attempts to connect.
    back_off_s: float = 30.0
    # After a connection that lived this long and sent something, the back-off starts again with its shortest pause.
    healthy_after_s: float = 5.0
    # Age at which the exchange closes a connection (None: the exchange's own value). The connection is replaced
    # `early_s` before this age.
    lifetime_s: float | None = None
    early_s: float = 1_800.0
    # A connection that has brought trades for this time is ready, even if a subscription was not answered.
    ready_s: float = 10.0
    # Time after which a subscription without an answer is repeated, and time between two tries of a refused symbol.
    answer_s: float = 10.0
    refused_s: float = 300.0
    # A symbol without a trade for this time is silent.
    silent_s: float = 300.0
    # Rate of REST requests; None: the exchange's own rate.
    requests: Rate | None = None
    # Healing of a gap over REST starts after `heal_after_s`, because a late message may fill the gap, and ends after
    # `heal_for_s`.
    heal_after_s: float = 0.5
    heal_for_s: float = 3_600.0
    # Time between two comparisons of a symbol with REST. `audit_s`: if trade ids have no order; then every symbol is
    # compared. `quiet_s`: if ids are consecutive; then only symbols without a new trade are compared. 0: never.
    audit_s: float = 30.0
    quiet_s: float = 60.0
    # At the start, so many messages at the end of each raw partition are read, to find the trades of earlier runs.
    resume_messages: int = 200_000
    # After `breaker_failures` failures in a row the circuit breaker opens for `breaker_open_s`.
    breaker_failures: int = 5
    breaker_open_s: float = 30.0
