-- The Bronze topic, for the Silver processor. A message holds many rows.

-- Deflate, because every Avro reader has it (polars has no zstd; fastavro has neither snappy nor zstd by itself). It is
-- a seventh of the size, and takes 0.7 µs a row, where snappy takes 0.3 µs. The string pattern makes columns Avro
-- `string`. Without it, ClickHouse writes a String as Avro `bytes`.
CREATE TABLE IF NOT EXISTS {{ db }}.bronze_trades_sink{{ on_cluster }}
(
    exchange String,
    symbol String,
    trade_id String,
    price_text String,
    quantity_text String,
    timestamp DateTime64(6, 'UTC'),
    timestamp_raw String,
    side String,
    sequence String,
    kind String,
    matches String,
    defect String,
    raw_topic String,
    raw_partition UInt32,
    raw_offset UInt64,
    published_at DateTime64(3, 'UTC'),
    received_at DateTime64(6, 'UTC'),
    ingested_at DateTime64(6, 'UTC'),
    _key String
)
ENGINE = Kafka
SETTINGS
    kafka_broker_list = {{ kafka_brokers | literal }},
    kafka_topic_list = {{ bronze_topic | literal }},
    kafka_group_name = {{ (raw_consumer_group ~ '_sink') | literal }},
    kafka_format = 'Avro',
    kafka_max_rows_per_message = {{ bronze_rows_per_message }},
    output_format_avro_codec = 'deflate',
    output_format_avro_string_column_pattern = '.*',
    output_format_avro_rows_in_file = {{ bronze_rows_per_message }};

-- One view for each shard, so that a message holds rows of one shard only. Its key is the shard's number, so all trades
-- of an (exchange, symbol) reach one Silver worker.
{% for shard in range(bronze_shards) %}
CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.bronze_trades_sink_mv{{ '' if shard == 0 else '_' ~ shard }}{{ on_cluster }} TO {{ db }}.bronze_trades_sink
AS
SELECT
    bronze.exchange AS exchange,
    bronze.symbol AS symbol,
    bronze.trade_id AS trade_id,
    bronze.price_text AS price_text,
    bronze.quantity_text AS quantity_text,
    bronze.timestamp AS timestamp,
    bronze.timestamp_raw AS timestamp_raw,
    bronze.side AS side,
    bronze.sequence AS sequence,
    bronze.kind AS kind,
    bronze.matches AS matches,
    bronze.defect AS defect,
    bronze.raw_topic AS raw_topic,
    bronze.raw_partition AS raw_partition,
    bronze.raw_offset AS raw_offset,
    bronze.published_at AS published_at,
    bronze.received_at AS received_at,
    bronze.ingested_at AS ingested_at,
    {{ shard | string | literal }} AS _key
FROM {{ db }}.bronze_trades AS bronze
{% if bronze_shards > 1 %}
WHERE cityHash64(bronze.exchange, bronze.symbol) % {{ bronze_shards }} = {{ shard }}
{% endif %}
;
{% endfor %}
