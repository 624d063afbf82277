-- Trades that the staged day has twice: from Iceberg, and from an hour that Iceberg lacks or has only in part.
SELECT toString(exchange) AS key, count() AS trades
FROM
(
    SELECT exchange, symbol, trade_id
    FROM silver_trades_staged
    WHERE exchange IN {keys:Array(String)}
      AND (exchange, symbol, trade_id) IN (
        SELECT exchange, symbol, trade_id
        FROM silver_trades_staged
        WHERE exchange IN {keys:Array(String)}
{% if hours %}
          AND toInt64(toUnixTimestamp(toStartOfHour(validated_at, 'UTC'))) NOT IN ({{ hours | join(', ') }})
{% endif %}
      )
    GROUP BY exchange, symbol, trade_id
    HAVING count() > 1
)
GROUP BY key
