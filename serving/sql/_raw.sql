{#- The messages of an exchange that were received in [from, to) (µs), of some markets or of all. -#}
{%- macro is_in_window() -%}
exchange = {exchange:String}
  AND received_at >= fromUnixTimestamp64Micro({from:Int64}, 'UTC')
  AND received_at < fromUnixTimestamp64Micro({to:Int64}, 'UTC')
  AND (empty({symbols:Array(String)}) OR symbol IN {symbols:Array(String)})
{%- endmacro -%}
