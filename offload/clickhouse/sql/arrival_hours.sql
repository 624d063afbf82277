-- Hot rows by hour of arrival, of several tables.
-- FINAL for tables whose rows may merge before or after their hour is offloaded.
SELECT hot_table, hour_us, hot_rows
FROM
(
{% for cold in tables %}
{{ 'UNION ALL' if not loop.first }}
SELECT
    {{ cold.hot | literal }} AS hot_table,
    toInt64(toUnixTimestamp(toStartOfHour({{ cold.arrival }}, 'UTC'))) * 1000000 AS hour_us,
    count() AS hot_rows
FROM {{ cold.hot }}{{ ' FINAL' if cold.counts_merged else '' }}
WHERE {{ cold.arrival }} >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND {{ cold.arrival }} < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
GROUP BY hour_us
{% endfor %}
)
ORDER BY hot_table, hour_us
