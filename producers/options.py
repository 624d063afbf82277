"""The timings and bounds of a live producer."""

from __future__ import annotations

from dataclasses import dataclass

from producers.exchanges.model import Rate


@dataclass(frozen=True, slots=True)
class ProducerOptions:
    """The timings and bounds of a live producer; tests make everything quicker.

    `idle_s` None: the exchange's own. A connection that lived for `healthy_after_s` and sent something resets
    the back-off, which grows to `back_off_s` at most. A connection is replaced `early_s` before the exchange would
    cut it off at `lifetime_s` (None: the exchange's own). It is ready when every subscription was answered and one of
    them taken, or when it has brought trades for `ready_s`. A subscription without an answer for `answer_s` is asked
    for again; a symbol that was refused, every `refused_s`; one without a trade for `silent_s` is silent. After
    `breaker_failures` failures in a row a venue is left alone for `breaker_open_s`. A gap is healed over REST from
    `heal_after_s` on (a late message may fill it before), for at most `heal_for_s`; where ids have no order, REST's
    newest trades are compared every `audit_s`, elsewhere those of symbols that were quiet for `quiet_s` (0: never). At
    most `resume_messages` of each partition of the raw topic are read at the start for what earlier runs published.
    """

    max_frame_bytes: int = 16_777_216
    open_s: float = 10.0
    close_s: float = 2.0
    idle_s: float | None = None
    back_off_s: float = 30.0
    healthy_after_s: float = 5.0
    lifetime_s: float | None = None
    early_s: float = 1_800.0
    ready_s: float = 10.0
    answer_s: float = 10.0
    refused_s: float = 300.0
    silent_s: float = 300.0
    requests: Rate | None = None
    heal_after_s: float = 0.5
    heal_for_s: float = 3_600.0
    audit_s: float = 30.0
    quiet_s: float = 60.0
    resume_messages: int = 200_000
    breaker_failures: int = 5
    breaker_open_s: float = 30.0
