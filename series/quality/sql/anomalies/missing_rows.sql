-- Whole days between the first and the last stored one that lack rows. A day of moments, of which nobody says how many
-- it has, has one at least. Periods of a market that is closed at times are not counted.
WITH
    greatest(toInt64(stored.expected), toInt64(market.expected), if(market.frame = '', 1, 0)) AS wanted
SELECT
    market.series AS series,
    market.exchange AS exchange,
    market.symbol AS symbol,
    market.frame AS frame,
    toDateTime64(market.day, 6, 'UTC') AS at,
    toFloat64(wanted - toInt64(stored.periods)) AS value,
    concat(toString(stored.periods), ' of ', if(wanted > 1, toString(wanted), 'at least one'), ' rows') AS detail
FROM
(
    SELECT
        series,
        exchange,
        symbol,
        frame,
        expected,
        arrayJoin(arrayMap(
            number -> toDate(oldest_time) + number,
            range(1, toUInt32(greatest(toDate(newest_time) - toDate(oldest_time), 1))))) AS day
    FROM series_stored
    LEFT JOIN (SELECT series, exchange, frame, max(expected) AS expected FROM series_days GROUP BY series, exchange, frame) AS lengths
        USING (series, exchange, frame)
) AS market
LEFT JOIN series_days AS stored USING (series, exchange, symbol, frame, day)
WHERE market.day >= toDate({start:DateTime64(6, 'UTC')}) AND market.day < toDate({end:DateTime64(6, 'UTC')})
  AND value > {bound:Float64}
ORDER BY value DESC, at, series, exchange, symbol, frame
LIMIT {most:UInt64}
SETTINGS join_use_nulls = 0
