SELECT newest_time
FROM series_stored
WHERE series = {series:String} AND exchange = {exchange:String} AND symbol = {symbol:String} AND frame = {frame:String}
