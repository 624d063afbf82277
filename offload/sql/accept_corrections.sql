-- Corrections: those of the trades of such letters, and those that an interrupted command has not followed to the end.
SELECT {{ columns | join(', ') }}
FROM corrections FINAL
WHERE NOT is_applied OR (exchange, trade_id) IN (
    SELECT exchange, trade_id
    FROM dlq_trades
    WHERE {% include '_accept_filter.sql' %}

)
