"""Prometheus metrics of the service."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("medallion_serving_requests_total", "HTTP requests, by endpoint and status", ["endpoint", "status"])
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
ANSWERS = Histogram(
    "medallion_serving_request_seconds",
    "Time from an HTTP request to the beginning of its answer, by endpoint",
    ["endpoint"],
    buckets=_SECONDS,
)
QUERIES = Histogram(
    "medallion_serving_query_seconds", "Time of a query at ClickHouse, by its SQL file", ["query"], buckets=_SECONDS
)
CLIENTS = Gauge("medallion_serving_websocket_clients", "Open WebSocket connections")
STREAMS = Gauge("medallion_serving_websocket_streams", "Streams with at least one listener")
SENT = Counter("medallion_serving_websocket_messages_total", "Messages sent to WebSocket clients")
DROPPED = Counter(
    "medallion_serving_websocket_dropped_total",
    "Messages that a slow client did not get because newer ones replaced them",
)
POLL_ERRORS = Counter("medallion_serving_poll_errors_total", "Queries for changes that ClickHouse did not answer")
REPLAYS = Gauge("medallion_serving_replays", "Replays under way")
