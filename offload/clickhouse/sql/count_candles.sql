-- Candles and trades that the hot tier has of one Gold partition.
SELECT count() AS hot_rows, sum(trade_count) AS trades
FROM (
{{ select }}
)
