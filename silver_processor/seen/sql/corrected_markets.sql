-- The markets of some exchanges that have a correction.
SELECT DISTINCT toString(exchange) AS exchange, toString(symbol) AS symbol FROM corrections
WHERE exchange IN {exchanges:Array(String)}
