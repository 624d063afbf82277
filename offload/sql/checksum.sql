-- Rows and an order-independent checksum (modulo 2^64, so that sums of parts add up) by exchange and symbol.
SELECT
    toString(exchange) AS key_exchange,
    toString(symbol) AS key_symbol,
    count() AS row_count,
    toString(sum(row_hash)) AS checksum
FROM
(
    SELECT
        exchange,
        symbol,
{% if loose %}
        -- Which of several equal rows a merge keeps is the server's choice: their coordinates do not count.
        if(defect = '' AND trade_id != '', sipHash64({{ identity | join(', ') }}), sipHash64({{ columns | join(', ') }})) AS row_hash
{% else %}
        sipHash64({{ columns | join(', ') }}) AS row_hash
{% endif %}
    FROM
    (
{{ source }}
    )
)
GROUP BY key_exchange, key_symbol
ORDER BY key_exchange, key_symbol
