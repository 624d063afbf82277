-- Where the durability gate moves a partition before it drops it: a move is atomic and nothing inserts here, so what
-- is compared with Iceberg is what is dropped, and rows that arrive meanwhile stay in the hot table.
-- A migration that alters a hot table alters its twin here too, or the move is refused.
{% for entry in retention if entry.table not in ('duplicate_trades', 'dlq_trades_log', state_table) %}
CREATE TABLE IF NOT EXISTS {{ db }}.{{ entry.table }}_leaving{{ on_cluster }} AS {{ db }}.{{ entry.table }};
{% endfor %}

{% import '_candles.sql' as candles %}
-- The candles of those partitions, as the exact views show them.
{% for frame in timeframes %}
CREATE OR REPLACE VIEW {{ db }}.{{ frame.exact_view }}_leaving{{ on_cluster }}
(
{{ candles.columns(exact=true, hot=true) }}
)
AS
{{ candles.hot(db, frame, exact=true, states=state_table ~ '_leaving') }};
{% endfor %}
