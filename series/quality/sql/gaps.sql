SELECT
    from_time,
    to_time,
    concat(toString(ids_missing), ' trades, ', state, if(from_id = '', '', concat(', ids ', from_id, ' to ', to_id))) AS description
FROM producer_gaps
WHERE exchange = {exchange:String} AND symbol = {symbol:String} AND state != 'healed'
  AND from_time < {end:DateTime64(6, 'UTC')} AND to_time >= {start:DateTime64(6, 'UTC')}
ORDER BY from_time
