-- cold.<series>_snapshots, cold.series_dead_letters: the row versions, or the dead letters, whose answers came in a window,
-- each once. FINAL merges only copies of one row, since answer_id, a digest that includes received_at, is in the sorting
-- key. Staging has the rows of the snapshots and does not merge copies, so DISTINCT removes them.
{% macro cold(name, type, is_optional) -%}
{%- set column = 't.' ~ (name | name) -%}
{%- if type == 'string' -%}
toValidUTF8(toString({{ column }}))
{%- elif type == 'timestamptz' -%}
toDateTime64({{ column }}, 6, 'UTC')
{%- elif type == 'long' -%}
toInt64({{ column }})
{%- elif type == 'decimal(20, 0)' -%}
CAST({{ column }} AS {{ 'Nullable(Decimal(20, 0))' if is_optional else 'Decimal(20, 0)' }})
{%- else -%}
{{ column }}
{%- endif -%}
{%- endmacro %}
SELECT{{ '' if merged else ' DISTINCT' }}
{% for column, type, _ in columns %}
    {{ cold(column, type | string, column in optional) }} AS {{ column | name }}{{ ',' if not loop.last }}
{% endfor %}
FROM {{ hot }} AS t{{ ' FINAL' if merged else '' }}
PREWHERE t.received_at >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
     AND t.received_at < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
{% if event_day %}
     AND t.{{ event | name }} >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
     AND t.{{ event | name }} < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
{% endif %}
{% if partition %}
     AND t.provider = {key:String}
ORDER BY {% for column in sort %}t.{{ column | name }}{{ ', ' if not loop.last }}{% endfor %}

{% endif %}
