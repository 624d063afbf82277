-- Cold Bronze rows whose key the hot table holds again with a later arrival: merging has moved them to a later window.
SELECT c.*
FROM
(
{{ source }}
) AS c
WHERE (c.raw_topic, {{ cold_key }}) IN
(
    SELECT raw_topic, {{ sorting_key }}
    FROM bronze_trades
    WHERE ingested_at >= fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
)
