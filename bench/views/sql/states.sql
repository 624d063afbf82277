-- Inserts candle states of `frame` seconds: `markets` markets with a candle in each window of the day that is `day` days ago,
-- up to now. A view only merges states, so their numbers do not matter.
INSERT INTO gold_ohlcv_state
    (frame, exchange, symbol, window_start, open, high, low, close, volume, quote_volume, trade_count, buy_volume,
     sell_volume, updated_at)
WITH
    toUnixTimestamp(toStartOfDay(now('UTC'))) - {day:UInt32} * 86400 + intDiv(number, {markets:UInt32}) * {frame:UInt32}
        AS second,
    cityHash64(number) AS noise,
    concat(
        reinterpretAsFixedString(byteSwap(toUInt64(second) * 1000000)), reinterpretAsFixedString(byteSwap(number)),
        toString(number)) AS order_key
SELECT
    {frame:UInt32},
    'binance',
    concat('M', leftPad(toString(number % {markets:UInt32}), 3, '0'), 'USDT'),
    toDateTime64(second, 0, 'UTC'),
    initializeAggregation('argMinState', toDecimal128(100 + noise % 900 / 100, 18), order_key),
    toDecimal128(109, 18),
    toDecimal128(99, 18),
    initializeAggregation('argMaxState', toDecimal128(100 + noise % 700 / 100, 18), order_key),
    toDecimal256(noise % 1000 / 8, 18),
    toDecimal256(noise % 1000 * 13, 20),
    10,
    toDecimal256(1, 18),
    toDecimal256(1, 18),
    now64(6, 'UTC')
FROM numbers(intDiv(86400, {frame:UInt32}) * toUInt64({markets:UInt32}))
WHERE second <= toUnixTimestamp(now('UTC'))
SETTINGS max_partitions_per_insert_block = 0
