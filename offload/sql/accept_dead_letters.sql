-- Open dead letters of trades that have another version, as Bronze rows. An empty filter matches everything.
SELECT {{ columns | join(', ') }}
FROM dlq_trades
WHERE {% include '_accept_filter.sql' %}
