-- The Bronze shards of (exchange, symbol) pairs: the expression of ddl/0003_bronze_stream.sql.
SELECT arrayMap(
    (exchange, symbol) -> toUInt32(cityHash64(exchange, symbol) % {shards:UInt32}),
    {exchanges:Array(String)}, {symbols:Array(String)}) AS shards
