-- Stored series whose newest row is older than the bound at the end of the span.
SELECT
    series,
    exchange,
    symbol,
    frame,
    newest_time AS at,
    dateDiff('second', newest_time, {end:DateTime64(6, 'UTC')}) / 3600 AS value,
    concat('the newest row is of ', toString(newest_time)) AS detail
FROM series_stored
WHERE newest_time < {end:DateTime64(6, 'UTC')} - toIntervalSecond(toUInt64({bound:Float64} * 3600))
ORDER BY value DESC, series, exchange, symbol, frame
LIMIT {most:UInt64}
