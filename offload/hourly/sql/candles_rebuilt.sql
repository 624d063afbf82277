-- Candles of a slice: some days made from the trades in Iceberg, the others as Iceberg has them.
SELECT *
FROM
(
{{ parts | join('\nUNION ALL\n') }}
)
ORDER BY symbol, window_start
