{#- The Fear & Greed index of the days that start in [from, until] (ms), `direction` from the first or from the last. -#}
SELECT
    toUnixTimestamp64Milli(mood.day) AS time,
    mood.value AS value,
    mood.classification AS classification
FROM fear_greed AS mood
WHERE mood.day >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
  AND mood.day <= fromUnixTimestamp64Milli({until:Int64}, 'UTC')
ORDER BY mood.day {{ direction }}
LIMIT {limit:UInt32}
