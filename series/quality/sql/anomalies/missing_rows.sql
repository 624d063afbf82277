-- Whole days between the first and the last stored one that lack rows. If rows are moments, a day needs at least one,
-- since the declaration does not say how many it has. Markets that are closed at times are left out.
SELECT
    market.series AS series,
    market.exchange AS exchange,
    market.symbol AS symbol,
    market.frame AS frame,
    toDateTime64(market.day, 6, 'UTC') AS at,
    toFloat64(market.wanted - toInt64(stored.periods)) AS value,
    concat(toString(stored.periods), ' of ', if(market.frame = '', 'at least one', toString(market.wanted)), ' rows') AS detail
FROM
(
    SELECT
        series,
        exchange,
        symbol,
        frame,
        transform(frame, {frames:Array(String)}, {periods:Array(Int64)}, toInt64(1)) AS wanted,
        arrayJoin(arrayMap(
            number -> toDate(oldest_time) + number,
            range(1, toUInt32(greatest(toDate(newest_time) - toDate(oldest_time), 1))))) AS day
    FROM series_stored
    WHERE NOT has({in_sessions:Array(String)}, exchange)
) AS market
LEFT JOIN
(
    SELECT series, exchange, symbol, frame, day, periods
    FROM series_days
    WHERE day >= toDate({start:DateTime64(6, 'UTC')}) AND day < toDate({end:DateTime64(6, 'UTC')})
) AS stored USING (series, exchange, symbol, frame, day)
WHERE market.day >= toDate({start:DateTime64(6, 'UTC')}) AND market.day < toDate({end:DateTime64(6, 'UTC')})
  AND value > {bound:Float64}
ORDER BY value DESC, at, series, exchange, symbol, frame
LIMIT {most:UInt64}
SETTINGS join_use_nulls = 0
