-- Where a re-derivation prepares a day of Silver before it publishes it with REPLACE PARTITION: a twin of Silver, fed by
-- no view and read by nobody.
CREATE TABLE IF NOT EXISTS {{ db }}.silver_trades_staged{{ on_cluster }} AS {{ db }}.silver_trades;
