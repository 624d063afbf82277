{#- The messages of each layer: rows of the hot tables and, for hours that are no longer hot, of Iceberg. -#}

{% import '_macros.sql' as sql %}

{% macro within() -%}
{{ sql.kafka_time_between('source.published_at', '{published_from_ms:Int64}', '{published_to_ms:Int64}') }}
{%- endmacro %}

{#- Rows with coordinates of the hot tables' types. `of` names the layer, `tier` where the row is read, `symbol` the column
    with the exchange's own symbol (of a duplicate the canonical one: it has no other). -#}
{% macro rows(of, tier, topic, partition, offset, arrived, symbol, source) -%}
SELECT {{ of | literal }} AS layer, {{ tier | literal }} AS tier, toString({{ topic }}) AS topic, toUInt32({{ partition }}) AS partition,
               toUInt64({{ offset }}) AS offset, {{ sql.kafka_time('source.published_at') }} AS published_at,
               toString(source.exchange) AS layer_exchange, toString(source.{{ symbol }}) AS layer_symbol,
               source.trade_id AS layer_trade_id,
               {{ 'toString(reason)' if of == 'dlq' else "''" }} AS layer_reason, {{ arrived }} AS layer_arrived_at
        FROM {{ source }} AS source
        WHERE {{ within() }}
{%- endmacro %}

{% macro hour_of_arrival() -%}
toInt64(toUnixTimestamp(toStartOfHour(ingested_at, 'UTC')))
{%- endmacro %}

{#- Of a group of rows with the same coordinates: whether Raw does not have the message of a layer after it. Its arrival is
    bounded by its Kafka time as well, since the time of a duplicate is that of its verdict. Rows of the last minute are
    left out, because the tables are not read at one moment; and so are dead letters about messages of the Bronze topic. -#}
{% macro is_not_in_raw() -%}
countIf(layer = 'raw') = 0
       AND countIf(layer_reason = 'bronze_unreadable') = 0
       AND min(layer_arrived_at) >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
       AND min(layer_arrived_at) < least(fromUnixTimestamp64Micro({to_us:Int64}, 'UTC'), now64(6, 'UTC') - INTERVAL 1 MINUTE)
       AND published_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
{%- endmacro %}

{#- An hour of Raw is read from one tier. A row of the other layers may be read from both. -#}
{% macro all(cold, raw_in_cold, raw_in_hot) %}
        {{ rows('raw', 'hot', '_topic', '_partition', '_offset', 'ingested_at', 'symbol', 'trades_raw') }}
        {% if raw_in_cold %}
          AND {{ hour_of_arrival() }} NOT IN ({{ raw_in_cold | join(', ') }})
        {% endif %}
        UNION ALL
        {{ rows('silver', 'hot', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', 'exchange_symbol', 'silver_trades') }}
        UNION ALL
        {{ rows('duplicate', 'hot', 'raw_topic', 'raw_partition', 'raw_offset', 'seen_at', 'symbol', 'duplicate_trades') }}
        UNION ALL
        {{ rows('dlq', 'hot', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', 'symbol', 'dlq_trades') }}
    {% for source in cold['raw_trades'] %}
        UNION ALL
        {{ rows('raw', 'cold', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', 'symbol', '(' ~ source ~ ')') }}
        {% if raw_in_hot %}
          AND {{ hour_of_arrival() }} NOT IN ({{ raw_in_hot | join(', ') }})
        {% endif %}
    {% endfor %}
    {% for source in cold['silver_trades'] %}
        UNION ALL
        {{ rows('silver', 'cold', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', 'exchange_symbol', '(' ~ source ~ ')') }}
    {% endfor %}
    {% for source in cold['duplicate_trades'] %}
        UNION ALL
        {{ rows('duplicate', 'cold', 'raw_topic', 'raw_partition', 'raw_offset', 'seen_at', 'symbol', '(' ~ source ~ ')') }}
    {% endfor %}
    {% for source in cold['dlq_trades'] %}
        UNION ALL
        {{ rows('dlq', 'cold', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', 'symbol', '(' ~ source ~ ')') }}
          AND (toString(raw_topic), toUInt32(raw_partition), toUInt64(raw_offset), {{ sql.kafka_time('source.published_at') }})
              NOT IN (
                  SELECT toString(raw_topic), raw_partition, raw_offset, {{ sql.kafka_time('published_at') }}
                  FROM dlq_resolutions
                  WHERE landed != ''
              )
    {% endfor %}
{% endmacro %}
