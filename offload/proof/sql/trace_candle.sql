-- A candle as the view shows it, and as computed from its Silver rows.
{% import '_counting.sql' as counting %}
SELECT 'view' AS source, toString(open) AS open, toString(high) AS high, toString(low) AS low,
       toString(close) AS close, toString(volume) AS volume, toString(quote_volume) AS quote_volume,
       toUInt64(trade_count) AS trade_count, toString(buy_volume) AS buy_volume, toString(sell_volume) AS sell_volume
FROM {{ view }}
WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND toUnixTimestamp(window_start) = {start_s:Int64}
UNION ALL
SELECT 'silver' AS source, toString(argMin(price, (timestamp, sequence, trade_id))) AS open,
       toString(max(price)) AS high, toString(min(price)) AS low,
       toString(argMax(price, (timestamp, sequence, trade_id))) AS close,
       toString(sum(toDecimal256(quantity, 18))) AS volume,
       toString(sum(toDecimal256(quote_volume, 20))) AS quote_volume, {{ counting.trades('silver') }} AS trade_count,
       toString(sumIf(toDecimal256(quantity, 18), side = 'BUY')) AS buy_volume,
       toString(sumIf(toDecimal256(quantity, 18), side = 'SELL')) AS sell_volume
FROM silver_trades AS silver
WHERE {{ counting.is_counted('silver') }} AND exchange = {exchange:String} AND symbol = {symbol:String}
  AND timestamp >= fromUnixTimestamp64Micro({start_s:Int64} * 1000000, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro(({start_s:Int64} + {seconds:Int64}) * 1000000, 'UTC')
HAVING trade_count > 0
