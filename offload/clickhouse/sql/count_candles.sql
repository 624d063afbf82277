-- What the hot tier holds of one Gold partition: a later export may only grow it.
SELECT count() AS hot_rows, sum(trade_count) AS trades
FROM (
{{ select }}
)
