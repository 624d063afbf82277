-- The trades of some windows, and what candles count of them (is_counted as in the view trades).
SELECT
    silver.trade_id AS trade_id,
    silver.timestamp AS timestamp,
    silver.price AS price,
    silver.quantity AS quantity,
    silver.side = 'BUY' AS is_buy,
    silver.match_count AS match_count,
    has({counted:Array(String)}, silver.trade_kind) AS is_counted,
    toString(silver.trade_kind) AS trade_kind
FROM silver_trades AS silver
WHERE silver.exchange = {exchange:String} AND silver.symbol = {symbol:String}
  AND silver.timestamp >= {start:DateTime64(6, 'UTC')} AND silver.timestamp < {end:DateTime64(6, 'UTC')}
  AND has({windows:Array(Int64)}, intDiv(toUnixTimestamp64Second(silver.timestamp), {seconds:Int64}) * {seconds:Int64})
ORDER BY timestamp, sequence, trade_id
