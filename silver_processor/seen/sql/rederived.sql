-- How many days re-derivations have replaced, by exchange. A day counts each time it is replaced.
SELECT toString(exchange) AS exchange, count() AS switches FROM rederivations WHERE step = 'switched' GROUP BY exchange
