-- Arrival times that divide a partition of a slice into files with about the same number of rows.
SELECT quantilesTDigest({{ levels | join(', ') }})(toUnixTimestamp64Micro({{ arrival }}) - {from_us:Int64}) AS points
FROM
(
{{ select }}
)
