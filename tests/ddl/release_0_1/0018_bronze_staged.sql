-- Where a re-derivation from Raw makes Bronze rows again, by the query of the live view, before they go to Iceberg and
-- into a hot partition: a twin of Bronze, fed by no view and read by nobody.
CREATE TABLE IF NOT EXISTS {{ db }}.bronze_trades_staged{{ on_cluster }} AS {{ db }}.bronze_trades;
