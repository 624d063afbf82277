-- Rows of files of a cold table that arrived in a span, in the table's order.
SELECT *
FROM
(
{{ source }}
)
WHERE {{ arrival }} >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND {{ arrival }} < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
ORDER BY {{ sort | join(', ') }}
