-- Inserts into Silver that began before the pause.
SELECT count() AS under_way
FROM system.processes
WHERE query_kind = 'Insert' AND query LIKE '%silver_trades%' AND query NOT LIKE '%system.processes%'
