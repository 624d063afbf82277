"""The dashboard of the page and its interfaces."""

from __future__ import annotations

from deploy.compose.grafana.model import Dashboard, Panel

_RATES = "rate(medallion_serving_query_seconds_bucket[$__rate_interval])"
_QUERY_P99 = f"histogram_quantile(0.99, sum by (query, le) ({_RATES}))"
_PROBES = 'endpoint!~"/healthz|/readyz|/metrics"'

SERVING = Dashboard(
    "medallion-serving",
    "Serving",
    [
        Panel(
            "Requests a second",
            {f"sum(rate(medallion_serving_requests_total{{{_PROBES}}}[$__rate_interval]))": "HTTP"},
            unit="cps",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Failed",
            {"medallion:serving_failed:ratio5m": "of five minutes"},
            unit="percentunit",
            kind="stat",
            width=4,
            height=4,
            red_from=0.05,
        ),
        Panel(
            "Slowest endpoint, p99",
            {"max(medallion:serving_answer:p99_5m)": "p99"},
            unit="s",
            kind="stat",
            width=4,
            height=4,
            red_from=2,
        ),
        Panel(
            "WebSocket clients",
            {"sum(medallion_serving_websocket_clients)": "clients"},
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Streams",
            {"sum(medallion_serving_websocket_streams)": "with a listener"},
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Replays",
            {"sum(medallion_serving_replays)": "under way"},
            about="`/replay` and `/ws-replay`: two at a time.",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Time to an answer by endpoint, p99",
            {"medallion:serving_answer:p99_5m": "{{endpoint}}"},
            unit="s",
            width=12,
        ),
        Panel(
            "Requests a second, by endpoint and status",
            {
                f"sum by (endpoint, status) (rate(medallion_serving_requests_total{{{_PROBES}}}[$__rate_interval]))": (
                    "{{endpoint}} {{status}}"
                )
            },
            unit="cps",
            width=12,
        ),
        Panel(
            "Query at ClickHouse, p99",
            {_QUERY_P99: "{{query}}"},
            unit="s",
        ),
        Panel(
            "WebSocket messages a second",
            {
                "sum(rate(medallion_serving_websocket_messages_total[$__rate_interval]))": "sent",
                "sum(rate(medallion_serving_websocket_dropped_total[$__rate_interval]))": "replaced by newer ones",
            },
            about="A client that reads slowly gets the newest candle instead of each.",
            unit="cps",
        ),
        Panel(
            "Failed polls, a second",
            {"sum(rate(medallion_serving_poll_errors_total[$__rate_interval]))": "ClickHouse did not answer"},
            unit="cps",
            red_from=0.1,
        ),
    ],
)
