-- Hot trades, as candles count them, of an exchange and period that arrived in hours which Iceberg does not have, or not
-- wholly.
{% import '_counting.sql' as counting %}
SELECT {{ counting.trades('silver') }} AS trades
FROM silver_trades AS silver
WHERE {{ counting.is_counted('silver') }}
  AND exchange = {key:String}
  AND timestamp >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
  AND toInt64(toUnixTimestamp(toStartOfHour(validated_at, 'UTC'))) IN ({{ hours | join(', ') }})
