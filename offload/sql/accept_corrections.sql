-- Corrections of the trades of the chosen dead letters, and corrections that an interrupted command has not applied.
SELECT {{ columns | join(', ') }}
FROM corrections FINAL
WHERE NOT is_applied OR (exchange, trade_id) IN (
    SELECT exchange, trade_id
    FROM dlq_trades
    WHERE {% include '_accept_filter.sql' %}

)
