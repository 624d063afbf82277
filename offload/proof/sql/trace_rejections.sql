-- The dead letters of one trade, open and resolved, by any name of its market or by its raw messages.
{% import '_place.sql' as at %}
SELECT toString(reason) AS reason, toString(field) AS field, value, rule, limit, toString(rules_version) AS rules_version,
       rejected_at, toString(raw_topic) AS raw_topic, raw_partition, raw_offset, published_at
FROM dlq_trades_log AS dead_letter FINAL
WHERE (exchange = {exchange:String} AND symbol IN {symbols:Array(String)} AND trade_id = {trade_id:String})
   OR {{ at.place('dead_letter') }} IN {places:Array(String)}
