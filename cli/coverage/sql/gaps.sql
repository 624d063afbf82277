-- Gaps that are not healed and touch a span. The end of a window is excluded: one that ends at midnight is of the day before.
SELECT
    toString(exchange) AS exchange,
    toString(symbol) AS symbol,
    toString(state) AS state,
    toDate32(from_time) AS first_day,
    toDate32(greatest(from_time, to_time - INTERVAL 1 MICROSECOND)) AS last_day,
    from_id != '' AS has_ids,
    concat(
        state, ' gap: ',
        if(ids_missing = 0, 'an unknown number of trades', concat(toString(if(state = 'open', ids_open, ids_missing)), ' trades')),
        if(from_id = '', '', concat(', ids ', from_id, ' to ', to_id)),
        ' between ', formatDateTime(from_time, '%F %T', 'UTC'), ' and ', formatDateTime(to_time, '%F %T', 'UTC')) AS description
FROM producer_gaps
WHERE state != 'healed'
  AND ({exchange:String} = '' OR exchange = {exchange:String})
  AND (empty({symbols:Array(String)}) OR has({symbols:Array(String)}, symbol))
  AND from_time < toDateTime64({until:String}, 6, 'UTC') AND to_time >= toDateTime64({since:String}, 6, 'UTC')
ORDER BY exchange, symbol, from_time, from_id
