{% from '_layers.sql' import retention, timeframes %}
-- Where the durability gate moves a partition before it drops it: a move is atomic and nothing inserts here, so what
-- is compared with Iceberg is what is dropped, and rows that arrive meanwhile stay in the hot table.
-- A migration that alters a hot table alters its twin here too, or the move is refused.
{% for entry in retention if entry.table not in ('duplicate_trades', 'dlq_trades_log') %}
CREATE TABLE IF NOT EXISTS {{ db }}.{{ entry.table }}_leaving{{ on_cluster }} AS {{ db }}.{{ entry.table }};
{% endfor %}

-- The candles of those partitions, as the query views show them.
{% for frame in timeframes %}
CREATE OR REPLACE VIEW {{ db }}.{{ frame.view }}_leaving{{ on_cluster }}
AS
SELECT
    state.exchange AS exchange,
    state.symbol AS symbol,
    state.window_start AS window_start,
    argMinMerge(state.open) AS open,
    max(state.high) AS high,
    min(state.low) AS low,
    argMaxMerge(state.close) AS close,
    sum(state.volume) AS volume,
    sum(state.quote_volume) AS quote_volume,
    sum(state.trade_count) AS trade_count
FROM {{ db }}.{{ frame.state_table }}_leaving AS state
GROUP BY exchange, symbol, window_start;
{% endfor %}
