-- By exchange, how many days a re-derivation has replaced; a day counts each time.
SELECT toString(exchange) AS exchange, count() AS switches FROM rederivations WHERE step = 'switched' GROUP BY exchange
