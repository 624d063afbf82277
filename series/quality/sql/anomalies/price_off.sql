-- Minutes in which a market closed further from the median of the other venues than the bound. At least two other
-- venues must have a close in that minute: with two venues in all, nobody knows which one is wrong.
SELECT
    'candles' AS series,
    venue.1 AS exchange,
    symbol,
    '1m' AS frame,
    window_start AS at,
    abs(venue.2 / middle - 1) * 100 AS value,
    concat(toString(venue.2), ' while ', toString(length(others)), ' other venues closed around ', toString(middle)) AS detail
FROM
(
    SELECT
        symbol,
        window_start,
        groupArray((exchange, close)) AS venues,
        arrayJoin(venues) AS venue,
        arrayMap(one -> one.2, arrayFilter(one -> one.1 != venue.1, venues)) AS others,
        arrayReduce('quantileExactInclusive(0.5)', others) AS middle
    FROM gold_ohlcv_1m
    WHERE window_start >= toDateTime({start:DateTime64(6, 'UTC')}) AND window_start < toDateTime({end:DateTime64(6, 'UTC')})
    GROUP BY symbol, window_start
    HAVING count() > 2
)
WHERE value > {bound:Float64}
ORDER BY value DESC, at, exchange, symbol
LIMIT {most:UInt64}
