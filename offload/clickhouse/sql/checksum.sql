-- Row counts and an order-independent checksum by exchange and symbol, "" if the table lacks the column. The checksum is
-- modulo 2^64, so checksums of parts add up.
-- The hash of NULL is NULL, and the sum would leave out the row. So an optional column is hashed as two values.
{% macro hash(left_out) -%}
cityHash64(
    {%- for column in columns if column not in left_out -%}
    {{ ', ' if not loop.first }}
    {%- if column in optional %}isNull(`{{ column }}`), ifNull(`{{ column }}`, 0){% else %}`{{ column }}`{% endif %}
    {%- endfor -%}
)
{%- endmacro %}
SELECT
    key_exchange,
    key_symbol,
    count() AS row_count,
    toString(sum(row_hash)) AS checksum
FROM
(
{% if merge_key %}
    -- Of the rows that merge, the hot table keeps the latest.
    SELECT key_exchange, key_symbol, argMax(row_hash, {{ arrival }}) AS row_hash
    FROM
    (
{% endif %}
    SELECT
        {{ 'toString(exchange)' if 'exchange' in columns else "''" }} AS key_exchange,
        {{ 'toString(symbol)' if 'symbol' in columns else "''" }} AS key_symbol,
{% if merge_key %}
        {{ arrival }},
        sipHash128({{ merge_key }}) AS row_key,
{% endif %}
{% if unsettled_if %}
        -- The server chooses which of several equal rows a merge keeps, so unsettled columns do not count.
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
    GROUP BY key_exchange, key_symbol, row_key
{% endif %}
)
GROUP BY key_exchange, key_symbol
-- Without rows, constant names would make one empty group.
HAVING row_count > 0
ORDER BY key_exchange, key_symbol
