SELECT series, exchange, symbol, frame, row_count, oldest_time, newest_time, received_at
FROM series_stored
ORDER BY series, exchange, symbol, frame
