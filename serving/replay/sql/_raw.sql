{#- Whether a message of an exchange was received in [from, to) (µs) and is of one of `symbols`; no symbols: any market. -#}
{%- macro is_in_window() -%}
exchange = {exchange:String}
  AND received_at >= fromUnixTimestamp64Micro({from:Int64}, 'UTC')
  AND received_at < fromUnixTimestamp64Micro({to:Int64}, 'UTC')
  AND (empty({symbols:Array(String)}) OR symbol IN {symbols:Array(String)})
{%- endmacro -%}
