-- Which of the ids Silver holds of one market in a span of time (µs), less those of one insert.
SELECT DISTINCT trade_id FROM silver_trades
WHERE exchange = %(exchange)s AND symbol = %(symbol)s AND insert_token != %(token)s
  AND timestamp BETWEEN fromUnixTimestamp64Micro(%(earliest)s, 'UTC') AND fromUnixTimestamp64Micro(%(latest)s, 'UTC')
  AND trade_id IN %(ids)s
