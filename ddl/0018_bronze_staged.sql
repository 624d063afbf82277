-- A re-derivation from Raw makes Bronze rows again here, by the query of the live view, before they go to Iceberg and
-- into a hot partition. The table has Bronze's structure. No view fills it, and no query reads it.
CREATE TABLE IF NOT EXISTS {{ db }}.bronze_trades_staged{{ on_cluster }} AS {{ db }}.bronze_trades;
