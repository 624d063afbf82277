"""The dashboards: the whole pipeline, the exchanges, the dead letters, the cold tier, the page and its interfaces."""

from __future__ import annotations

from pathlib import Path

from deploy.compose.grafana.model import Dashboard, Panel
from deploy.compose.grafana.serving import SERVING

_HERE = Path(__file__).parent
_INSERT_P99 = "histogram_quantile(0.99, sum by (le) (rate(medallion_silver_insert_seconds_bucket[$__rate_interval])))"


def _sql(name: str) -> str:
    return (_HERE / "sql" / f"{name}.sql").read_text(encoding="utf-8")


PIPELINE = Dashboard(
    "medallion-pipeline",
    "Pipeline",
    [
        Panel(
            "Receipt → candle, p99",
            {'medallion:trade_latency:p99_5m{stage="pipeline"}': "p99"},
            unit="s",
            kind="stat",
            width=4,
            height=4,
            red_from=3,
        ),
        Panel(
            "Trades a second",
            {"sum(rate(medallion_silver_valid_total[$__rate_interval]))": "into Silver"},
            unit="cps",
            kind="stat",
            width=4,
            height=4,
        ),
        Panel(
            "Completeness, last hour",
            {"min(medallion:completeness:ratio1h)": "lowest exchange"},
            about="Raw messages of the last closed hour that are in exactly one of Silver, duplicates and DLQ.",
            unit="percentunit",
            kind="stat",
            width=4,
            height=4,
            red_below=1,
        ),
        Panel(
            "Rejected",
            {"medallion:dead_letters:ratio10m": "of ten minutes"},
            unit="percentunit",
            kind="stat",
            width=4,
            height=4,
            red_from=0.01,
        ),
        Panel(
            "Offload lag",
            {"medallion:offload_lag:seconds": "oldest hour not in Iceberg"},
            unit="s",
            kind="stat",
            width=4,
            height=4,
            red_from=7200,
        ),
        Panel(
            "Partitions the gate holds",
            {"sum(medallion:gate_held:partitions)": "expired, not confirmed"},
            kind="stat",
            width=4,
            height=4,
            red_from=1,
        ),
        Panel(
            "Firing alerts",
            {'ALERTS{alertstate="firing"}': "{{alertname}} {{exchange}}{{table}}{{job}}"},
            about="What to do: docs/runbooks/alerts.md.",
            kind="table",
            width=24,
            height=5,
        ),
        Panel("Trade → candle by stage, p99", {"medallion:trade_latency:p99_5m": "{{stage}}"}, unit="s", width=12),
        Panel("Trade → candle by stage, p50", {"medallion:trade_latency:p50_5m": "{{stage}}"}, unit="s", width=12),
        Panel(
            "Rows a second",
            {
                "sum(rate(medallion_producer_trades_total[$__rate_interval]))": "produced",
                "sum(rate(medallion_silver_rows_total[$__rate_interval]))": "validated",
                "sum(rate(medallion_silver_valid_total[$__rate_interval]))": "into Silver",
                "sum(rate(medallion_silver_duplicates_total[$__rate_interval]))": "seen before",
                "sum(rate(medallion_silver_rejects_total[$__rate_interval]))": "rejected",
            },
            unit="cps",
            width=12,
        ),
        Panel(
            "Consumer lag, messages",
            {"medallion:consumer_lag:messages": "{{redpanda_group}} {{redpanda_topic}}"},
            width=12,
        ),
        Panel(
            "Bronze without a Silver owner",
            {
                "max(medallion_silver_unowned_messages)": "messages",
                "max(medallion_silver_unowned_partitions)": "partitions",
                "sum(increase(medallion_silver_refused_assignments_total[$__rate_interval]))": "assignments refused",
            },
            about="Normal for seconds at a rebalance. Otherwise see docs/runbooks/alerts.md#no-owner.",
            width=12,
            red_from=1,
        ),
        Panel(
            "Silver insert, p99",
            {
                _INSERT_P99: "insert",
                "medallion:silver_age:p99_5m": "Bronze message → done",
            },
            unit="s",
        ),
        Panel(
            "Most parts in a partition",
            {"ClickHouseAsyncMetrics_MaxPartCountForPartition": "parts"},
            red_from=500,
        ),
        Panel(
            "Disk left",
            {
                "ClickHouseAsyncMetrics_DiskAvailable_default / ClickHouseAsyncMetrics_DiskTotal_default": "ClickHouse",
                "redpanda_storage_disk_free_bytes / redpanda_storage_disk_total_bytes": "Redpanda",
                "min by (disk) (medallion_disk_free_bytes / medallion_disk_size_bytes)": "{{disk}}",
            },
            unit="percentunit",
            red_below=0.15,
        ),
        Panel("Slowest trades", sql=_sql("slowest_trades"), kind="table", unit="none", width=12, height=10),
        Panel("Newest candles", sql=_sql("newest_candles"), kind="table", unit="none", width=12, height=10),
    ],
)

EXCHANGES = Dashboard(
    "medallion-exchanges",
    "Exchange health",
    [
        Panel(
            "Connected",
            {"max by (exchange) (medallion_producer_connected)": "{{exchange}}"},
            kind="stat",
            width=24,
            height=4,
            red_below=1,
        ),
        Panel(
            "Trades a second",
            {"sum by (exchange) (rate(medallion_producer_trades_total[$__rate_interval]))": "{{exchange}}"},
            unit="cps",
            width=12,
        ),
        Panel(
            "Trade → producer, p99", {"medallion:producer_lag:p99_5m": "{{exchange}}"}, unit="s", width=12, red_from=5
        ),
        Panel(
            "Trade → candle, p99",
            {'medallion:trade_latency_by_exchange:p99_5m{stage="total"}': "{{exchange}}"},
            unit="s",
        ),
        Panel(
            "Clock offset",
            {"medallion_producer_clock_offset_seconds": "{{exchange}}"},
            about="Below zero the local clock is behind by at least that much.",
            unit="s",
        ),
        Panel("Completeness, last hour", {"medallion:completeness:ratio1h": "{{exchange}}"}, unit="percentunit"),
        Panel(
            "Symbols by state",
            {"sum by (exchange, state) (medallion_producer_symbols)": "{{exchange}} {{state}}"},
            about="Refused: `medallion status` shows the exchange's message. Silent: no trade for five minutes.",
            width=12,
        ),
        Panel(
            "Symbols without trades",
            {"max by (exchange, symbol) (medallion_producer_symbol_trouble)": "{{exchange}} {{symbol}}"},
            width=12,
            red_from=1,
        ),
        Panel(
            "Connections lost",
            {"sum by (exchange, cause) (increase(medallion_producer_disconnects_total[1h]))": "{{exchange}} {{cause}}"},
        ),
        Panel(
            "Unrecognised messages a second",
            {"sum by (exchange) (rate(medallion_producer_unrecognised_total[$__rate_interval]))": "{{exchange}}"},
            unit="cps",
        ),
        Panel(
            "Waiting for the broker, share of time",
            {"rate(medallion_producer_back_pressure_seconds_total[$__rate_interval])": "{{exchange}}"},
            unit="percentunit",
        ),
        Panel(
            "Messages the broker refused, an hour",
            {"increase(medallion_producer_delivery_errors_total[1h])": "{{exchange}}"},
            red_from=1,
        ),
        Panel("Missed trades, open gaps", {"medallion_producer_gap_trades_open": "{{exchange}}"}),
        Panel(
            "Missed trades, unfillable, an hour",
            {"increase(medallion_producer_gap_trades_unfillable_total[1h])": "{{exchange}}"},
            red_from=1,
        ),
        Panel("Circuit breaker open", {'medallion_producer_breaker{state="open"}': "{{exchange}} {{interface}}"}),
        Panel("Gaps", sql=_sql("gaps"), kind="table", unit="none", width=24, height=10),
    ],
)

DEAD_LETTERS = Dashboard(
    "medallion-dlq",
    "Dead letters",
    [
        Panel(
            "Rejected of all validated",
            {"medallion:dead_letters:ratio10m": "ten minutes"},
            unit="percentunit",
            width=12,
            red_from=0.01,
        ),
        Panel(
            "Rejects a second, by reason",
            {"sum by (reason) (rate(medallion_silver_rejects_total[$__rate_interval]))": "{{reason}}"},
            unit="cps",
            width=12,
        ),
        Panel(
            "Messages that contradict a trade, and duplicates that could not be compared, in an hour",
            {
                'sum(increase(medallion_silver_rejects_total{reason="trade_contradicts"}[1h]))': "contradict",
                "sum(increase(medallion_silver_not_compared_total[1h]))": "not compared",
            },
            width=12,
            height=5,
        ),
        Panel(
            "Rules in force",
            {"count by (version) (medallion_silver_rules)": "{{version}}"},
            kind="table",
            width=12,
            height=5,
        ),
        Panel(
            "Symbols file unusable",
            {"max(medallion_silver_rules_broken)": "1: an older one is in force"},
            kind="stat",
            width=12,
            height=5,
            red_from=1,
        ),
        Panel(
            "By reason and market", sql=_sql("dead_letters_by_market"), kind="table", unit="none", width=24, height=10
        ),
        Panel("Newest", sql=_sql("newest_dead_letters"), kind="table", unit="none", width=24, height=10),
    ],
)

COLD = Dashboard(
    "medallion-cold",
    "Cold tier",
    [
        Panel("Offload lag", {"medallion_offload_lag_seconds": "{{table}}"}, unit="s", width=12, red_from=7200),
        Panel("Closed hours not offloaded", {"medallion_offload_pending_hours": "{{table}}"}, width=12),
        Panel("Runs, an hour", {"sum by (outcome) (increase(medallion_offload_runs_total[1h]))": "{{outcome}}"}),
        Panel(
            "Last successful run",
            {"medallion_offload_last_success_timestamp_seconds * 1000": "at"},
            unit="dateTimeAsIso",
            kind="stat",
        ),
        Panel(
            "Run, p99",
            {"histogram_quantile(0.99, sum by (le) (rate(medallion_offload_run_seconds_bucket[1d])))": "p99"},
            unit="s",
        ),
        Panel("Rows written, an hour", {"increase(medallion_offload_written_rows_total[1h])": "{{table}}"}),
        Panel("Partitions the gate holds", {"medallion:gate_held:partitions": "{{table}}"}, red_from=1),
        Panel("Partitions dropped, a day", {"increase(medallion_gate_dropped_partitions_total[1d])": "{{table}}"}),
        Panel("Rows in Iceberg", {"medallion_cold_rows": "{{table}}"}),
        Panel("Files in Iceberg", {"medallion_cold_files": "{{table}}"}),
        Panel("Bytes in Iceberg", {"medallion_cold_bytes": "{{table}}"}, unit="bytes"),
        Panel(
            "Missing messages",
            {"medallion_completeness_missing_messages": "{{exchange}}"},
            about="Of the last day. Messages still in flight when their hour was counted disappear at the next count.",
            red_from=1,
        ),
        Panel("Hot trades by day", sql=_sql("hot_days"), kind="table", unit="none", width=16, height=8),
    ],
)

BOARDS = {
    "pipeline": PIPELINE,
    "exchanges": EXCHANGES,
    "dead-letters": DEAD_LETTERS,
    "cold-tier": COLD,
    "serving": SERVING,
}
