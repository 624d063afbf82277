{#- The messages of each layer: rows of the hot tables and, for hours that are no longer hot, of Iceberg. -#}

{% import '_macros.sql' as sql %}

{% macro within() -%}
{{ sql.kafka_time_between('source.published_at', '{published_from_ms:Int64}', '{published_to_ms:Int64}') }}
{%- endmacro %}

{#- Rows with coordinates of the hot tables' types. `of` names the layer, `tier` where the row is read. -#}
{% macro rows(of, tier, topic, partition, offset, arrived, named, source) -%}
SELECT {{ of | literal }} AS layer, {{ tier | literal }} AS tier, toString({{ topic }}) AS topic, toUInt32({{ partition }}) AS partition,
               toUInt64({{ offset }}) AS offset, {{ sql.kafka_time('source.published_at') }} AS published_at,
               {{ 'toString(exchange)' if named else "''" }} AS layer_exchange,
               {{ 'toString(symbol)' if named else "''" }} AS layer_symbol,
               {{ 'trade_id' if named else "''" }} AS layer_trade_id,
               {{ 'toString(reason)' if of == 'dlq' else "''" }} AS layer_reason, {{ arrived }} AS layer_arrived_at
        FROM {{ source }} AS source
        WHERE {{ within() }}
{%- endmacro %}

{% macro hour_of_arrival() -%}
toInt64(toUnixTimestamp(toStartOfHour(ingested_at, 'UTC')))
{%- endmacro %}

{#- An hour of Raw is read from one tier. A row of the other layers may be read from both. -#}
{% macro all(cold, raw_in_cold, raw_in_hot) %}
        {{ rows('raw', 'hot', '_topic', '_partition', '_offset', 'ingested_at', true, 'trades_raw') }}
        {% if raw_in_cold %}
          AND {{ hour_of_arrival() }} NOT IN ({{ raw_in_cold | join(', ') }})
        {% endif %}
        UNION ALL
        {{ rows('silver', 'hot', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', false, 'silver_trades') }}
        UNION ALL
        {{ rows('duplicate', 'hot', 'raw_topic', 'raw_partition', 'raw_offset', 'seen_at', false, 'duplicate_trades') }}
        UNION ALL
        {{ rows('dlq', 'hot', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', false, 'dlq_trades') }}
    {% for source in cold['raw_trades'] %}
        UNION ALL
        {{ rows('raw', 'cold', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', true, '(' ~ source ~ ')') }}
        {% if raw_in_hot %}
          AND {{ hour_of_arrival() }} NOT IN ({{ raw_in_hot | join(', ') }})
        {% endif %}
    {% endfor %}
    {% for source in cold['silver_trades'] %}
        UNION ALL
        {{ rows('silver', 'cold', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', false, '(' ~ source ~ ')') }}
    {% endfor %}
    {% for source in cold['duplicate_trades'] %}
        UNION ALL
        {{ rows('duplicate', 'cold', 'raw_topic', 'raw_partition', 'raw_offset', 'seen_at', false, '(' ~ source ~ ')') }}
    {% endfor %}
    {% for source in cold['dlq_trades'] %}
        UNION ALL
        {{ rows('dlq', 'cold', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', false, '(' ~ source ~ ')') }}
          AND (toString(raw_topic), toUInt32(raw_partition), toUInt64(raw_offset), {{ sql.kafka_time('source.published_at') }})
              NOT IN (
                  SELECT toString(raw_topic), raw_partition, raw_offset, {{ sql.kafka_time('published_at') }}
                  FROM dlq_resolutions
                  WHERE landed != ''
              )
    {% endfor %}
{% endmacro %}
