-- Hot trades of an exchange and period, as candles count them, of arrival hours that Iceberg lacks or has in part.
{% import '_counting.sql' as counting %}
SELECT {{ counting.trades('silver') }} AS trades
FROM silver_trades AS silver
WHERE {{ counting.is_counted('silver') }}
  AND exchange = {key:String}
  AND timestamp >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
  AND toInt64(toUnixTimestamp(toStartOfHour(validated_at, 'UTC'))) IN ({{ hours | join(', ') }})
