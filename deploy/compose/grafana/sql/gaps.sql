SELECT detected_at, exchange, symbol, state, from_id, to_id, ids_missing, ids_open, from_time, to_time, healed_at
FROM producer_gaps
WHERE $__timeFilter(detected_at) OR state = 'open'
ORDER BY detected_at DESC
LIMIT 100
