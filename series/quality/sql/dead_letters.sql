-- Dead letters have the exchange's own symbol.
SELECT timestamp, trade_id, concat(reason, ': trade ', trade_id, ' (', quantity_text, ' at ', price_text, ')') AS description
FROM dlq_trades
WHERE exchange = {exchange:String} AND has({own_names:Array(String)}, symbol) AND defect = ''
  AND reason NOT IN ('trade_contradicts', 'trade_superseded')
  AND timestamp >= {start:DateTime64(6, 'UTC')} AND timestamp < {end:DateTime64(6, 'UTC')}
ORDER BY timestamp
