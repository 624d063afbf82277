-- Inserts trades into Silver, and by its views into Gold, for the requests of the page. In all there are `minutes`
-- minutes up to now. Each has a trade of every market, and a hundred trades of BTCUSD. One statement inserts `count`
-- minutes from minute `first` on.
INSERT INTO silver_trades
    (exchange, symbol, trade_id, price, quantity, quote_volume, timestamp, side, validated_at, sequence, exchange_symbol,
     raw_topic, raw_partition, raw_offset, published_at, received_at, ingested_at, bronze_partition, bronze_offset,
     bronze_published_at, insert_token, rules_version)
WITH
    number % (toUInt64({markets:UInt32}) + 99) AS place,
    intDiv(number, toUInt64({markets:UInt32}) + 99) AS minute,
    toDateTime64(toStartOfMinute(now('UTC')), 6, 'UTC') - toIntervalMinute({minutes:UInt32} - minute) AS opened,
    if(place < 100, 'BTCUSD', concat('M', leftPad(toString(place - 99), 3, '0'), 'USD')) AS market,
    toDecimal128(100 + cityHash64(number) % 100000 / 1000, 18) AS price,
    toDecimal128(1 + cityHash64(number, 1) % 1000 / 1000, 18) AS quantity
SELECT
    'kraken',
    market,
    toString(number),
    price,
    quantity,
    CAST(toDecimal256(price, 10) * toDecimal256(quantity, 10) AS Decimal(38, 20)),
    opened + toIntervalMillisecond(place),
    if(number % 3, 'BUY', 'SELL'),
    now64(6, 'UTC'),
    number,
    market,
    'bench',
    0,
    number,
    now64(3, 'UTC'),
    now64(6, 'UTC'),
    now64(6, 'UTC'),
    0,
    0,
    now64(3, 'UTC'),
    'bench',
    'bench'
FROM numbers({first:UInt32} * (toUInt64({markets:UInt32}) + 99), {count:UInt32} * (toUInt64({markets:UInt32}) + 99))
SETTINGS max_partitions_per_insert_block = 0
