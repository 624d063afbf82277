-- How many dead letters, open or resolved, carry an exchange code and a symbol; an empty name matches everything.
SELECT count() AS letters
FROM dlq_trades_log
WHERE ({exchange:String} = '' OR exchange = {exchange:String})
  AND ({symbol:String} = '' OR symbol = {symbol:String})
