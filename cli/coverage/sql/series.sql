-- What is stored and rejected of each series, market and day.
SELECT series, exchange, symbol, frame, toDate32(day) AS day, periods, expected, rejected, providers
FROM series_days
WHERE ({exchange:String} = '' OR exchange = {exchange:String})
  AND (empty({symbols:Array(String)}) OR has({symbols:Array(String)}, symbol))
ORDER BY series, exchange, symbol, frame, day
