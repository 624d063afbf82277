-- Queries under way that may read candles.
SELECT query_id
FROM system.processes
WHERE query_kind IN ('Select', 'Insert') AND query NOT LIKE '%system.processes%'
