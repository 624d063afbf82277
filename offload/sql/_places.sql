{#- Where raw messages are: the rows of a layer in the hot tables and, where these have let go, in Iceberg. -#}

{% macro within() -%}
published_at >= fromUnixTimestamp64Milli({published_from_ms:Int64}, 'UTC')
          AND published_at <= fromUnixTimestamp64Milli({published_to_ms:Int64}, 'UTC')
{%- endmacro %}

{#- Coordinates as the hot tables type them; `of` names the layer, `tier` where the row was read. -#}
{% macro place(of, tier, topic, partition, offset, arrived, named, source) -%}
SELECT '{{ of }}' AS layer, '{{ tier }}' AS tier, toString({{ topic }}) AS topic, toUInt32({{ partition }}) AS partition,
               toUInt64({{ offset }}) AS offset, CAST(published_at, 'DateTime64(3, \'UTC\')') AS published_at,
               {{ 'toString(exchange)' if named else "''" }} AS layer_exchange,
               {{ 'toString(symbol)' if named else "''" }} AS layer_symbol,
               {{ 'trade_id' if named else "''" }} AS layer_trade_id,
               {{ 'toString(reason)' if of == 'dlq' else "''" }} AS layer_reason, {{ arrived }} AS layer_arrived_at
        FROM {{ source }}
        WHERE {{ within() }}
{%- endmacro %}

{% macro hour_of_arrival() -%}
toInt64(toUnixTimestamp(toStartOfHour(ingested_at, 'UTC')))
{%- endmacro %}

{#- An hour of Raw is read in one tier. Of the other layers a row may be met in both. -#}
{% macro all(cold, raw_in_cold, raw_in_hot) %}
        {{ place('raw', 'hot', '_topic', '_partition', '_offset', 'ingested_at', true, 'trades_raw') }}
        {% if raw_in_cold %}
          AND {{ hour_of_arrival() }} NOT IN ({{ raw_in_cold | join(', ') }})
        {% endif %}
        UNION ALL
        {{ place('silver', 'hot', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', false, 'silver_trades') }}
        UNION ALL
        {{ place('duplicate', 'hot', 'raw_topic', 'raw_partition', 'raw_offset', 'seen_at', false, 'duplicate_trades') }}
        UNION ALL
        {{ place('dlq', 'hot', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', false, 'dlq_trades') }}
    {% for source in cold['raw_trades'] %}
        UNION ALL
        {{ place('raw', 'cold', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', true, '(' ~ source ~ ')') }}
        {% if raw_in_hot %}
          AND {{ hour_of_arrival() }} NOT IN ({{ raw_in_hot | join(', ') }})
        {% endif %}
    {% endfor %}
    {% for source in cold['silver_trades'] %}
        UNION ALL
        {{ place('silver', 'cold', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', false, '(' ~ source ~ ')') }}
    {% endfor %}
    {% for source in cold['duplicate_trades'] %}
        UNION ALL
        {{ place('duplicate', 'cold', 'raw_topic', 'raw_partition', 'raw_offset', 'seen_at', false, '(' ~ source ~ ')') }}
    {% endfor %}
    {% for source in cold['dlq_trades'] %}
        UNION ALL
        {{ place('dlq', 'cold', 'raw_topic', 'raw_partition', 'raw_offset', 'ingested_at', false, '(' ~ source ~ ')') }}
          AND (toString(raw_topic), toUInt32(raw_partition), toUInt64(raw_offset), CAST(published_at, 'DateTime64(3, \'UTC\')'))
              NOT IN (
                  SELECT toString(raw_topic), raw_partition, raw_offset, published_at
                  FROM dlq_resolutions
                  WHERE landed != ''
              )
    {% endfor %}
{% endmacro %}
