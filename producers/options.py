"""The timings and bounds of a live producer."""

from __future__ import annotations

from dataclasses import dataclass

from producers.exchanges.model import Rate


@dataclass(frozen=True, slots=True)
class ProducerOptions:
    """The timings (s) and bounds of a live producer; tests make everything quicker."""

    #: A larger frame ends the connection.
    max_frame_bytes: int = 16_777_216
    #: For a connection to open, and to close.
    open_s: float = 10.0
    close_s: float = 2.0
    #: Silence after which a connection is given up; None: the exchange's own.
    idle_s: float | None = None
    #: Longest pause between two attempts to connect.
    back_off_s: float = 30.0
    #: A connection that lived so long and sent something begins the next back-off anew.
    healthy_after_s: float = 5.0
    #: Age at which the exchange cuts a connection off (None: the exchange's own); it is replaced so long before.
    lifetime_s: float | None = None
    early_s: float = 1_800.0
    #: A connection that has brought trades for so long is ready, whatever was not answered.
    ready_s: float = 10.0
    #: A subscription without an answer for so long is asked for again; a refused symbol is, so often.
    answer_s: float = 10.0
    refused_s: float = 300.0
    #: A symbol without a trade for so long is silent.
    silent_s: float = 300.0
    #: REST requests; None: the exchange's own rate.
    requests: Rate | None = None
    #: A gap is healed over REST after the first (a late message may fill it before), for at most the second.
    heal_after_s: float = 0.5
    heal_for_s: float = 3_600.0
    #: How often symbols are compared with REST: all where ids have no order, elsewhere the quiet ones (0: never).
    audit_s: float = 30.0
    quiet_s: float = 60.0
    #: Messages of a partition of the raw topic that are read at the start, for what earlier runs published.
    resume_messages: int = 200_000
    #: After so many failures in a row an exchange is left alone for so long.
    breaker_failures: int = 5
    breaker_open_s: float = 30.0
