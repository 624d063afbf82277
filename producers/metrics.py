"""Prometheus metrics of the producers, by exchange code."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

FRAMES = Counter("medallion_producer_frames_total", "WebSocket messages received", ["exchange"])
BYTES = Counter("medallion_producer_bytes_total", "Bytes of WebSocket messages received", ["exchange"])
TRADES = Counter("medallion_producer_trades_total", "Trades handed to the publisher", ["exchange"])
CONTROL = Counter("medallion_producer_control_total", "Known messages that carry no trade", ["exchange", "kind"])
UNRECOGNISED = Counter("medallion_producer_unrecognised_total", "Messages published for the DLQ", ["exchange"])
CONNECTED = Gauge("medallion_producer_connected", "1 while a connection is up", ["exchange"])
SYMBOLS = Gauge("medallion_producer_symbols", "Symbols by how they stand at the exchange", ["exchange", "state"])
SYMBOL_TROUBLE = Gauge(
    "medallion_producer_symbol_trouble",
    "1 for a symbol that is refused or not answered (at most 100 of a process)",
    ["exchange", "symbol", "state"],
)
DISCONNECTS = Counter("medallion_producer_disconnects_total", "Connections lost or refused", ["exchange", "cause"])
ROTATIONS = Counter("medallion_producer_rotations_total", "Connections replaced before their end of life", ["exchange"])
# Dashboards and alerts outside this repository may still read the name of 0.2.
ROTATIONS_OLD_NAME = Counter(
    "medallion_producer_renewals_total", "Old name of medallion_producer_rotations_total", ["exchange"]
)
BREAKER = Gauge(
    "medallion_producer_breaker", "1 for the state that the circuit breaker is in", ["exchange", "interface", "state"]
)
BACK_PRESSURE = Counter(
    "medallion_producer_back_pressure_seconds_total", "Time in which reading stood still for the broker", ["exchange"]
)
UNDELIVERED = Gauge("medallion_producer_undelivered", "Messages taken and not yet acknowledged", ["exchange"])
LOST = Counter("medallion_producer_lost_total", "Messages that were read and given up at the end", ["exchange"])
DELIVERY_ERRORS = Counter(
    "medallion_producer_delivery_errors_total", "Messages that the broker refused, or that expired", ["exchange"]
)
GAP_FOUND = Counter("medallion_producer_gap_trades_found_total", "Trades the stream did not bring", ["exchange"])
GAP_HEALED = Counter("medallion_producer_gap_trades_healed_total", "Of these, published since", ["exchange"])
GAP_OPEN = Gauge("medallion_producer_gap_trades_open", "Of these, not published yet and still tried", ["exchange"])
GAP_UNFILLABLE = Counter("medallion_producer_gap_trades_unfillable_total", "Of these, given up", ["exchange"])
GAPS_OPEN = Gauge("medallion_producer_gaps_open", "Gaps that are being healed", ["exchange"])
REST_REQUESTS = Counter("medallion_producer_rest_requests_total", "REST requests, by answer", ["exchange", "answer"])
EVENTS_LOST = Counter("medallion_producer_gap_notes_lost_total", "Rows of producer_gaps the broker did not take")
CLOCK_OFFSET = Gauge(
    "medallion_producer_clock_offset_seconds",
    "Least time from trade to receipt in the last minute: latency plus clock offset, so negative where ours is behind",
    ["exchange"],
)
LAG = Histogram(
    "medallion_producer_lag_seconds",
    "Exchange's trade time to the broker's acknowledgement, of each message's latest trade",
    ["exchange"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0),
)
