-- Which trades of one market Silver holds in a span of time (µs), less those of one insert: those with the ids or with
-- ids first … last, and those of several matches that have one of low … high among theirs.
SELECT DISTINCT trade_id, timestamp, match_count FROM silver_trades
WHERE exchange = %(exchange)s AND symbol = %(symbol)s AND insert_token != %(token)s
  AND timestamp BETWEEN fromUnixTimestamp64Micro(%(earliest)s, 'UTC') AND fromUnixTimestamp64Micro(%(latest)s, 'UTC')
  AND (trade_id IN %(ids)s
    OR toUInt64OrZero(trade_id) BETWEEN %(first)s AND %(last)s
    OR match_count > 1 AND toUInt64OrZero(trade_id) >= %(low)s
      AND toUInt64OrZero(trade_id) - match_count < %(high)s)
