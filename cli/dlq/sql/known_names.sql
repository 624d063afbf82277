-- How many dead letters, open or resolved, are of an exchange code, a symbol and a trade; an empty name matches everything.
SELECT count() AS dead_letters
FROM dlq_trades_log
WHERE ({exchange:String} = '' OR exchange = {exchange:String})
  AND ({symbol:String} = '' OR symbol = {symbol:String})
  AND ({trade_id:String} = '' OR trade_id = {trade_id:String})
