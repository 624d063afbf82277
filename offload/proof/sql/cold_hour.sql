-- Cold rows that arrived in a span.
SELECT *
FROM
(
{{ source }}
)
WHERE {{ arrival }} >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND {{ arrival }} < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
