-- The durability gate moves a partition here before it drops it. A move is atomic and nothing inserts here, so the gate
-- drops exactly the rows it has compared with Iceberg. Rows that arrive in the meantime stay in the hot table.
-- A migration that alters a hot table must alter its table here as well, or ClickHouse refuses the move.
{% for table in ('trades_raw', 'bronze_trades', 'silver_trades') %}
CREATE TABLE IF NOT EXISTS {{ db }}.{{ table }}_leaving{{ on_cluster }} AS {{ db }}.{{ table }};
{% endfor %}

{% import '_candles.sql' as candles %}
-- The candles of the leaving partitions, as the exact views show them.
{% for frame in timeframes %}
CREATE OR REPLACE VIEW {{ db }}.{{ frame.exact_view }}_leaving{{ on_cluster }}
(
{{ candles.columns(exact=true, hot=true) }}
)
AS
{{ candles.hot(db, frame, exact=true, states=state_table ~ '_leaving') }};
{% endfor %}
