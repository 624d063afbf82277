-- The candle states of all time frames in one table, filled by one view, so that each Silver insert is aggregated once.
-- Sums are Decimal256: a Decimal128 sum overflows without an error.
{% import '_states.sql' as gold %}
{% macro state_table_of(clause) %}
{{ clause }} {{ db }}.gold_ohlcv_state{{ on_cluster }}
(
    frame UInt32 COMMENT 'length of the candle, seconds',
    exchange LowCardinality(String),
    symbol LowCardinality(String),
    window_start DateTime64(0, 'UTC') CODEC(DoubleDelta, ZSTD(1)),
    open AggregateFunction(argMin, Decimal(38, 18), String),
    high SimpleAggregateFunction(max, Decimal(38, 18)),
    low SimpleAggregateFunction(min, Decimal(38, 18)),
    close AggregateFunction(argMax, Decimal(38, 18), String),
    volume SimpleAggregateFunction(sum, Decimal(76, 18)),
    quote_volume SimpleAggregateFunction(sum, Decimal(76, 20)),
    trade_count SimpleAggregateFunction(sum, UInt64),
    buy_volume SimpleAggregateFunction(sum, Decimal(76, 18)),
    sell_volume SimpleAggregateFunction(sum, Decimal(76, 18)),
    updated_at SimpleAggregateFunction(max, DateTime64(6, 'UTC'))
)
ENGINE = {{ sql.merge_tree('Aggregating') }}
PARTITION BY (
    multiIf({% for kept in retention_classes[1:] | reverse %}frame >= {{ kept.from_seconds }}, {{ kept.from_seconds }}, {% endfor %}{{ retention_classes[0].from_seconds }}),
    multiIf({% for kept in retention_classes[1:] | reverse %}frame >= {{ kept.from_seconds }}, {{ kept.period_sql }}(window_start), {% endfor %}{{ retention_classes[0].period_sql }}(window_start)))
ORDER BY (frame, exchange, symbol, window_start)
SETTINGS {{ sql.remember_inserts() }}
COMMENT 'Aggregation states of all candles: read gold_ohlcv_1m and its like'
{% endmacro %}
{{ state_table_of('CREATE TABLE IF NOT EXISTS') }};

{% set earlier = (('1m', 60), ('5m', 300), ('15m', 900), ('30m', 1800), ('1h', 3600), ('1d', 86400)) %}
{% if cluster %}
-- Not on a cluster, where a statement that copies rows reaches one shard only.
SELECT throwIf(1, 'Candles of a cluster are copied by hand, shard by shard, before this migration: deploy/cluster/README.md, Upgrade')
FROM {{ db }}.gold_ohlcv_1m_state;
{% else %}
-- A database of an earlier version has a table and a view for each time frame. This migration refuses to run if an
-- insert has reached Silver and only some of these tables, because nothing would complete the insert afterwards.
SELECT throwIf(count() > 0, 'An insert into Silver is half done: start the Silver worker of the version before until it is idle, stop it, and apply again')
FROM
(
{% for code, seconds in earlier %}
SELECT newest.exchange, newest.symbol, newest.window_start
FROM
(
    SELECT exchange, symbol, toDateTime64(intDiv(toUnixTimestamp64Micro(timestamp), {{ seconds }}000000) * {{ seconds }}, 0, 'UTC') AS window_start, max(validated_at) AS needed
    FROM {{ db }}.silver_trades AS silver
    WHERE timestamp > now64(6, 'UTC') - INTERVAL 7 DAY AND {{ counting.is_counted('silver') }}
      AND (bronze_partition, validated_at) IN (
        SELECT bronze_partition, max(validated_at)
        FROM {{ db }}.silver_trades
        WHERE timestamp > now64(6, 'UTC') - INTERVAL 7 DAY
        GROUP BY bronze_partition)
    GROUP BY exchange, symbol, window_start
) AS newest
LEFT JOIN
(
    SELECT exchange, symbol, window_start, max(updated_at) AS newest_update
    FROM {{ db }}.gold_ohlcv_{{ code }}_state
    WHERE window_start > now64(6, 'UTC') - INTERVAL 9 DAY
    GROUP BY exchange, symbol, window_start
) AS candle USING (exchange, symbol, window_start)
WHERE candle.newest_update < newest.needed
{{ '' if loop.last else 'UNION ALL' }}
{% endfor %}
)
SETTINGS join_use_nulls = 0;
{% endif %}

-- Silver's workers wait while the states are copied, so that no insert misses both the old views and the new one. They
-- treat this constraint like that of a re-derivation.
ALTER TABLE {{ db }}.silver_trades{{ on_cluster }} ADD CONSTRAINT IF NOT EXISTS publishing_gold_in_one_table CHECK 0;
{% for code, _ in earlier %}
DROP VIEW IF EXISTS {{ db }}.gold_ohlcv_{{ code }}_mv{{ on_cluster }} SYNC;
{% endfor %}

{% if not cluster %}
-- One statement for all states: a copy that was interrupted starts again from the beginning.
{{ state_table_of('CREATE OR REPLACE TABLE') }}
AS
{% for code, seconds in earlier %}
{% for suffix in ('', '_leaving') %}
SELECT {{ seconds }} AS frame, *
FROM {{ db }}.gold_ohlcv_{{ code }}_state{{ suffix }}
{{ '' if loop.last else 'UNION ALL' }}
{% endfor %}
{{ '' if loop.last else 'UNION ALL' }}
{% endfor %}
SETTINGS max_partitions_per_insert_block = 0;

-- Partitions that have left are listed under the name of the candles, no longer under that of the state table.
INSERT INTO {{ db }}.left_partitions (table_name, partition_id, confirmed_until, left_at)
SELECT replaceRegexpOne(table_name, '_state$', ''), partition_id, confirmed_until, left_at
FROM {{ db }}.left_partitions
WHERE match(table_name, '^gold_ohlcv_.*_state$');
{% endif %}

CREATE TABLE IF NOT EXISTS {{ db }}.gold_ohlcv_state_leaving{{ on_cluster }} AS {{ db }}.gold_ohlcv_state;

CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.gold_ohlcv_mv{{ on_cluster }} TO {{ db }}.gold_ohlcv_state
AS
{{ gold.states(db ~ '.silver_trades', timeframes) }};

ALTER TABLE {{ db }}.silver_trades{{ on_cluster }} DROP CONSTRAINT IF EXISTS publishing_gold_in_one_table;
{% for code, _ in earlier %}
{% for suffix in ('', '_leaving', '_staged') %}
DROP TABLE IF EXISTS {{ db }}.gold_ohlcv_{{ code }}_state{{ suffix }}{{ on_cluster }} SYNC;
{% endfor %}
{% endfor %}
