-- The candles of the shortest time frame: their number, markets and newest window, and how many do not lie within their own
-- high and low. `frames` has the length of every time frame with candles, seconds.
SELECT
    count() AS candles,
    uniqExact(exchange, symbol) AS markets,
    max(window_start) AS newest,
    countIf(low > least(open, close) OR high < greatest(open, close) OR trade_count = 0) AS impossible,
    (SELECT groupUniqArray(frame) FROM gold_ohlcv_state) AS frames
FROM {view:Identifier}
