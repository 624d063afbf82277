{#- The newest verdict on each window of a market that starts in [from, until] (ms), by time. Windows in which neither side
    has a trade are left out: nothing was compared and there is no candle. -#}
SELECT
    toUnixTimestamp64Milli(verdict.window_start) AS opened,
    verdict.result AS result,
    verdict.cause AS cause,
    substringUTF8(verdict.detail, 1, 1000) AS detail,
    verdict.differing AS differing,
    verdict.ours AS ours,
    verdict.theirs AS theirs,
    toUnixTimestamp64Milli(toDateTime64(verdict.checked_at, 3, 'UTC')) AS checked
FROM quality_checks AS verdict
WHERE verdict.exchange = {exchange:String}
  AND verdict.symbol = {symbol:String}
  AND verdict.frame = {frame:String}
  AND verdict.window_start >= fromUnixTimestamp64Milli({from:Int64}, 'UTC')
  AND verdict.window_start <= fromUnixTimestamp64Milli({until:Int64}, 'UTC')
  AND NOT (verdict.result = 'equal' AND verdict.compared = 0)
ORDER BY verdict.window_start
LIMIT {limit:UInt32}
