{#- The time frames and retentions as versions before migration 0027 had them: a table and a view a frame. -#}
{%- set day = 'toYYYYMMDD(window_start)' -%}
{%- set month = 'toYYYYMM(window_start)' -%}
{%- set timeframes = [] -%}
{%- set retention = [
    {'table': 'trades_raw', 'event_time': 'ingested_at', 'arrival_time': 'ingested_at', 'days': 2},
    {'table': 'bronze_trades', 'event_time': 'timestamp', 'arrival_time': 'ingested_at', 'days': 7},
    {'table': 'silver_trades', 'event_time': 'timestamp', 'arrival_time': 'validated_at', 'days': 30},
    {'table': 'duplicate_trades', 'event_time': 'published_at', 'arrival_time': 'seen_at', 'days': 30},
    {'table': 'dlq_trades_log', 'event_time': 'published_at', 'arrival_time': 'rejected_at', 'days': 30},
] -%}
{%- for code, seconds, partition, days in [('1m', 60, day, 30), ('5m', 300, day, 30), ('15m', 900, day, 30),
    ('30m', 1800, day, 30), ('1h', 3600, month, 90), ('1d', 86400, month, 365)] -%}
{%- set view = 'gold_ohlcv_' ~ code -%}
{%- set _ = timeframes.append({
    'code': code, 'seconds': seconds, 'view': view, 'exact_view': view ~ '_exact', 'state_table': view ~ '_state',
    'materialized_view': view ~ '_mv', 'partition_sql': partition, 'retention_days': days,
    'window_start_sql': "toDateTime64(intDiv(toUnixTimestamp64Micro(timestamp), %d000000) * %d, 0, 'UTC')" % (seconds, seconds),
}) -%}
{%- set _ = retention.append({'table': view ~ '_state', 'event_time': 'window_start', 'arrival_time': 'updated_at', 'days': days}) -%}
{%- endfor -%}
