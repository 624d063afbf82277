"""The timings and bounds of a live producer."""

from __future__ import annotations

from dataclasses import dataclass

from producers.exchanges.model import Rate


@dataclass(frozen=True, slots=True)
class ProducerOptions:
    """The timings (s) and bounds of a live producer; tests make everything quicker."""

    # A larger frame ends the connection.
    max_frame_bytes: int = 16_777_216
    # Limit for opening and for closing a connection.
    open_s: float = 10.0
    close_s: float = 2.0
    # A connection that is silent for so long is closed; None: the exchange's own limit.
    idle_s: float | None = None
    # Longest pause between two attempts to connect.
    back_off_s: float = 30.0
    # After a connection that lived this long and sent something, the back-off starts again with its shortest pause.
    healthy_after_s: float = 5.0
    # Age at which the exchange cuts a connection (None: the exchange's own value), and how long before it is replaced.
    lifetime_s: float | None = None
    early_s: float = 1_800.0
    # A connection that has brought trades for so long is ready, even if a subscription was not answered.
    ready_s: float = 10.0
    # When a subscription without an answer is repeated, and how often a refused symbol is.
    answer_s: float = 10.0
    refused_s: float = 300.0
    # A symbol without a trade for so long is silent.
    silent_s: float = 300.0
    # Rate of REST requests; None: the exchange's own rate.
    requests: Rate | None = None
    # Healing of a gap over REST starts after the first time (a late message may fill it) and ends after the second.
    heal_after_s: float = 0.5
    heal_for_s: float = 3_600.0
    # How often symbols are compared with REST: all symbols if ids have no order, otherwise quiet ones only (0: never).
    audit_s: float = 30.0
    quiet_s: float = 60.0
    # Messages of each raw partition that are read at the start, to find what earlier runs published.
    resume_messages: int = 200_000
    # After so many failures in a row the circuit breaker opens, for this long.
    breaker_failures: int = 5
    breaker_open_s: float = 30.0
