-- Hot Silver rows of the day that the re-derivation does not concern: other exchanges, and hours that are not in Iceberg.
INSERT INTO silver_trades_staged
SELECT *
FROM silver_trades
WHERE timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
  AND (exchange != {key:String}
{% if hours %}
       OR toInt64(toUnixTimestamp(toStartOfHour(validated_at, 'UTC'))) NOT IN ({{ hours | join(', ') }})
{% endif %}
  )
SETTINGS insert_deduplicate = 0
