-- How often days of each exchange were replaced by a re-derivation.
SELECT toString(exchange) AS exchange, count() AS switches FROM rederivations WHERE step = 'switched' GROUP BY exchange
