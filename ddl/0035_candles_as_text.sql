-- The candles of all frames in one view, which ClickHouse plans in half the time of `gold_ohlcv_<tf>_exact`: it does not say
-- which candles are closed or complete, and checks no sum for 38 digits, as text has room for any. The page's service reads it.
{% import '_candles.sql' as candles %}
CREATE OR REPLACE VIEW {{ db }}.candles_as_text{{ on_cluster }}
(
    frame UInt32 COMMENT 'length of the candle, seconds',
    exchange String COMMENT 'exchange-and-market code',
    symbol String COMMENT 'canonical symbol: BTCUSDT',
    window_start DateTime64(0, 'UTC') COMMENT 'start of the window, UTC',
{% for name, _, meaning in candles.amounts %}
    {{ name }} String COMMENT {{ (meaning ~ '; text, every digit') | literal }},
{% endfor %}
    trade_count UInt64 COMMENT 'trades in the window',
{% for name, _, meaning in candles.by_side %}
    {{ name }} String COMMENT {{ (meaning ~ '; text, every digit') | literal }},
{% endfor %}
    updated_at DateTime64(6, 'UTC') COMMENT 'when the newest of its trades was validated'
)
AS
SELECT
    state.frame AS frame,
    state.exchange AS exchange,
    state.symbol AS symbol,
    state.window_start AS window_start,
    toString(argMinMerge(state.open)) AS open,
    toString(max(state.high)) AS high,
    toString(min(state.low)) AS low,
    toString(argMaxMerge(state.close)) AS close,
    toString(sum(state.volume)) AS volume,
    toString(sum(state.quote_volume)) AS quote_volume,
    sum(state.trade_count) AS trade_count,
    toString(sum(state.buy_volume)) AS buy_volume,
    toString(sum(state.sell_volume)) AS sell_volume,
    max(state.updated_at) AS updated_at
FROM {{ db }}.gold_ohlcv_state AS state
GROUP BY frame, exchange, symbol, window_start
COMMENT 'Candles of all frames for programs: frame is a column, amounts are text with every digit';
