{% from '_layers.sql' import retention, timeframes %}
-- Where a re-derivation prepares partitions before it publishes them with REPLACE PARTITION: twins of Silver and of the
-- candle states, fed by no view and read by nobody.
CREATE TABLE IF NOT EXISTS {{ db }}.silver_trades_staged{{ on_cluster }} AS {{ db }}.silver_trades;
{% for frame in timeframes %}
CREATE TABLE IF NOT EXISTS {{ db }}.{{ frame.state_table }}_staged{{ on_cluster }} AS {{ db }}.{{ frame.state_table }};
{% endfor %}
