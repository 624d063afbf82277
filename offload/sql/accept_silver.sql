-- The versions that hot Silver has of the trades of the chosen dead letters, with their raw coordinates.
SELECT {{ columns | join(', ') }}
FROM silver_trades
WHERE (exchange, trade_id) IN (
    SELECT exchange, trade_id
    FROM dlq_trades
    WHERE {% include '_accept_filter.sql' %}

)
