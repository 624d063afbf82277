-- Whole days between the first and the last stored one that lack rows. Where nobody says how many rows a day has, a day
-- without any lacks them.
SELECT
    market.series AS series,
    market.exchange AS exchange,
    market.symbol AS symbol,
    market.frame AS frame,
    toDateTime64(market.day, 6, 'UTC') AS at,
    toFloat64(greatest(stored.expected, market.periods, 1) - stored.periods) AS value,
    concat(toString(stored.periods), ' of ', if(greatest(stored.expected, market.periods) = 0, 'an unknown number of',
        toString(greatest(stored.expected, market.periods))), ' rows') AS detail
FROM
(
    SELECT
        series,
        exchange,
        symbol,
        frame,
        max(expected) OVER (PARTITION BY series, frame) AS periods,
        arrayJoin(arrayMap(
            number -> toDate(oldest_time) + number,
            range(1, toUInt32(greatest(toDate(newest_time) - toDate(oldest_time), 1))))) AS day
    FROM series_stored
    LEFT JOIN (SELECT series, frame, max(expected) AS expected FROM series_days GROUP BY series, frame) AS lengths
        USING (series, frame)
) AS market
LEFT JOIN series_days AS stored USING (series, exchange, symbol, frame, day)
WHERE market.day >= toDate({start:DateTime64(6, 'UTC')}) AND market.day < toDate({end:DateTime64(6, 'UTC')})
  AND value > {bound:Float64}
ORDER BY value DESC, at, series, exchange, symbol, frame
LIMIT {most:UInt64}
SETTINGS join_use_nulls = 0
