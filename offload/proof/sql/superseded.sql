-- Cold rows that a merge has moved: the hot table has their key in another hour and no longer in this hour.
SELECT c.*
FROM
(
{{ source }}
) AS c
WHERE (c.raw_topic, {{ merge_key }}) IN
(
    SELECT raw_topic, {{ merge_key }}
    FROM {{ hot }}
    WHERE {{ arrival }} < fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
       OR {{ arrival }} >= fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
)
AND (c.raw_topic, {{ merge_key }}) NOT IN
(
    SELECT raw_topic, {{ merge_key }}
    FROM {{ hot }}
    WHERE {{ arrival }} >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
      AND {{ arrival }} < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
)
