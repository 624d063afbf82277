{#- Whether an operator has chosen a dead letter (`DeadLetterFilter`). -#}
reason IN {reasons:Array(String)}
  AND ({topic:String} = '' OR (raw_topic = {topic:String} AND raw_partition = {partition:UInt32} AND raw_offset = {offset:UInt64}))
  AND ({exchange:String} = '' OR exchange = {exchange:String})
  AND ({symbol:String} = '' OR symbol = {symbol:String})
  AND ({trade_id:String} = '' OR trade_id = {trade_id:String})
  AND timestamp >= fromUnixTimestamp64Micro({from_us:Int64}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({to_us:Int64}, 'UTC')
