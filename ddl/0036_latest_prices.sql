-- The newest price of every market: computed by each query, and a copy that is made every second for `latest_prices`.
{% import '_candles.sql' as candles %}
{% import '_latest_prices.sql' as prices %}

-- Never replicated: each server makes its own copy, and replaces all rows at once. The row without an exchange is no market:
-- it tells when the copy was made, also of a copy without markets. The first is as old as can be, so that `latest_prices`
-- is an error, and not empty, where no copy was made yet. Every query reads that row: without a primary key and statistics
-- ClickHouse leaves out no part.
CREATE TABLE IF NOT EXISTS {{ db }}.latest_prices_copy{{ on_cluster }}
{{ prices.columns() }}
ENGINE = MergeTree
ORDER BY tuple()
SETTINGS auto_statistics_types = ''
AS
{{ prices.marker("toDateTime64(0, 6, 'UTC')") }}
COMMENT 'Copy of latest_prices_live, made every second: read latest_prices';

-- The 24 hours are summed from 30-minute candles, whose partitions are days, so that two partitions are read. With an
-- edge at a whole minute the view would take five times as long. The last price of a market that was quiet for months
-- is in its daily candles. `join_use_nulls` is set because some clients set it to 1, and the view's columns have no NULL.
CREATE OR REPLACE VIEW {{ db }}.latest_prices_live{{ on_cluster }}
{{ prices.columns() }}
AS
SELECT
    exchange,
    symbol,
    {{ candles.nearest('newest.price') }} AS last_price,
    newest.time AS last_time,
    {{ candles.nearest('if(trade_count_24h = 0, newest.price, hours.open)') }} AS open_24h,
    {{ candles.nearest('if(trade_count_24h = 0, newest.price, hours.high)') }} AS high_24h,
    {{ candles.nearest('if(trade_count_24h = 0, newest.price, hours.low)') }} AS low_24h,
    {{ candles.nearest('hours.volume') }} AS volume_24h,
    {{ candles.nearest('hours.quote_volume') }} AS quote_volume_24h,
    hours.trade_count AS trade_count_24h,
    {{ candles.nearest('if(trade_count_24h = 0, 0, newest.price - hours.open)') }} AS change_24h,
    change_24h / open_24h * 100 AS change_percent_24h,
    now64(6, 'UTC') AS as_of
FROM
(
    SELECT
        state.exchange AS exchange,
        state.symbol AS symbol,
        argMaxMerge(state.close) AS price,
        {{ sql.time_of('argMaxMergeState(state.close)') }} AS time
    FROM {{ db }}.gold_ohlcv_state AS state
    WHERE state.frame = 86400
    GROUP BY exchange, symbol
) AS newest
LEFT JOIN
(
    SELECT
        state.exchange AS exchange,
        state.symbol AS symbol,
        argMinMerge(state.open) AS open,
        max(state.high) AS high,
        min(state.low) AS low,
        sum(state.volume) AS volume,
        sum(state.quote_volume) AS quote_volume,
        sum(state.trade_count) AS trade_count
    FROM {{ db }}.gold_ohlcv_state AS state
    WHERE state.frame = 1800
      AND state.window_start >= toDateTime64(intDiv(toUnixTimestamp(now('UTC')) - 86400, 1800) * 1800, 0, 'UTC')
    GROUP BY exchange, symbol
) AS hours USING (exchange, symbol)
SETTINGS join_use_nulls = 0
COMMENT 'As latest_prices, computed by the query itself: every trade that Silver has is in it';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.latest_prices_mv{{ on_cluster }}
REFRESH EVERY {{ latest_prices_every_s }} SECOND
TO {{ db }}.latest_prices_copy
AS
SELECT *
FROM {{ db }}.latest_prices_live
UNION ALL
{{ prices.marker("now64(6, 'UTC')") }};

-- An earlier copy, whose primary key hid that it was never made.
DROP TABLE IF EXISTS {{ db }}.latest_prices_stored{{ on_cluster }} SYNC;
