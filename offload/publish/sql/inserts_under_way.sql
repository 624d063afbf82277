-- Inserts into Silver under way.
SELECT query_id
FROM system.processes
WHERE query_kind = 'Insert' AND query LIKE '%silver_trades%' AND query NOT LIKE '%silver_trades_staged%'
