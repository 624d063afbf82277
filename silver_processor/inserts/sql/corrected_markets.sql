-- The markets of some exchanges of which another version of a trade was accepted.
SELECT DISTINCT toString(exchange) AS exchange, toString(symbol) AS symbol FROM corrections
WHERE exchange IN {exchanges:Array(String)}
