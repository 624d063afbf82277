-- Open dead letters of trades whose id Silver has with another content, by day. The symbol is the exchange's own.
SELECT
    'trades' AS series,
    exchange,
    symbol,
    '' AS frame,
    toDateTime64(toStartOfDay(timestamp), 6, 'UTC') AS at,
    toFloat64(count()) AS value,
    concat('trades ', arrayStringConcat(arraySlice(groupArraySorted(6)(trade_id), 1, 5), ', '), if(count() > 5, ', …', '')) AS detail
FROM dlq_trades
WHERE reason = 'trade_contradicts'
  AND timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}
GROUP BY exchange, symbol, at
HAVING value > {bound:Float64}
ORDER BY value DESC, at, exchange, symbol
LIMIT {most:UInt64}
