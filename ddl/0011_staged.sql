-- A re-derivation prepares a day of Silver here and publishes it with REPLACE PARTITION. The table has Silver's
-- structure. No view fills it, and no query reads it.
CREATE TABLE IF NOT EXISTS {{ db }}.silver_trades_staged{{ on_cluster }} AS {{ db }}.silver_trades;
