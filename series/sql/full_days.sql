SELECT day
FROM series_days
WHERE series = {series:String} AND exchange = {exchange:String} AND symbol = {symbol:String} AND frame = {frame:String}
  AND day >= toDate({start:DateTime64(6, 'UTC')}) AND day <= toDate({end:DateTime64(6, 'UTC')})
  AND periods = expected
