-- Rows and an order-independent checksum (modulo 2^64, so that sums of parts add up) by exchange and symbol.
-- A hash of NULL is NULL and would drop its row from the sum, hence the pair in its place.
{% macro hash(left_out) -%}
cityHash64(
    {%- for column in columns if column not in left_out -%}
    {{ ', ' if not loop.first }}
    {%- if column in optional %}isNull({{ column }}), ifNull({{ column }}, 0){% else %}`{{ column }}`{% endif %}
    {%- endfor -%}
)
{%- endmacro %}
SELECT
    toString(exchange) AS key_exchange,
    toString(symbol) AS key_symbol,
    count() AS row_count,
    toString(sum(row_hash)) AS checksum
FROM
(
{% if merge_key %}
    -- Of the rows that merging makes one, the latest: what the hot table keeps.
    SELECT exchange, symbol, argMax(row_hash, {{ arrival }}) AS row_hash
    FROM
    (
{% endif %}
    SELECT
        exchange,
        symbol,
{% if merge_key %}
        {{ arrival }},
        sipHash128({{ merge_key }}) AS row_key,
{% endif %}
{% if unsettled_if %}
        -- Which of several equal rows a merge keeps is the server's choice: their coordinates do not count.
        if({{ unsettled_if }}, {{ hash(unsettled) }}, {{ hash([]) }}) AS row_hash
{% else %}
        {{ hash([]) }} AS row_hash
{% endif %}
    FROM
    (
{{ source }}
    )
{% if merge_key %}
    )
    GROUP BY exchange, symbol, row_key
{% endif %}
)
GROUP BY key_exchange, key_symbol
ORDER BY key_exchange, key_symbol
