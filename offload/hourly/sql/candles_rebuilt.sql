-- Candles of a slice: those of rebuilt days from the trades in Iceberg, the others as Iceberg has them.
SELECT *
FROM
(
{{ parts | join('\nUNION ALL\n') }}
)
ORDER BY symbol, window_start
