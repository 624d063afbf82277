-- Stage hot Bronze rows of a day that arrived in hours that are not in Iceberg.
INSERT INTO bronze_trades_staged
SELECT *
FROM bronze_trades
WHERE timestamp >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
{% if hours %}
  AND toInt64(toUnixTimestamp(toStartOfHour(ingested_at, 'UTC'))) NOT IN ({{ hours | join(', ') }})
{% endif %}
SETTINGS deduplicate_insert_select = 'disable'
