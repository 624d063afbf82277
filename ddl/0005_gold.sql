-- Gold: views with one row for each candle, over the states that every Silver insert adds to (0027).
{% import '_candles.sql' as candles %}
{% for frame in timeframes %}
CREATE OR REPLACE VIEW {{ db }}.{{ frame.exact_view }}{{ on_cluster }}
(
{{ candles.columns(exact=true, hot=true) }}
)
AS
{{ candles.hot(db, frame, exact=true) }}
COMMENT 'Candles of {{ frame.code }}, exact decimals: divide toFloat64(toString(amount)), or read {{ frame.view }}';

CREATE OR REPLACE VIEW {{ db }}.{{ frame.view }}{{ on_cluster }}
(
{{ candles.columns(exact=false, hot=true) }}
)
AS
{{ candles.hot(db, frame, exact=false) }}
COMMENT 'Candles of {{ frame.code }} for arithmetic; {{ frame.exact_view }} has the digits';
{% endfor %}
