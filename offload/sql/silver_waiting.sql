-- Hot trades of an exchange and period that arrived in hours which Iceberg does not have, or not wholly.
SELECT count() AS trades
FROM silver_trades
WHERE exchange = {key:String}
  AND timestamp >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
  AND toInt64(toUnixTimestamp(toStartOfHour(validated_at, 'UTC'))) IN ({{ hours | join(', ') }})
