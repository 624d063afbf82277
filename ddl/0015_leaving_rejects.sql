-- As 0008, for duplicates and dead letters, which also go to Iceberg.
CREATE TABLE IF NOT EXISTS {{ db }}.duplicate_trades_leaving{{ on_cluster }} AS {{ db }}.duplicate_trades;

CREATE TABLE IF NOT EXISTS {{ db }}.dlq_trades_log_leaving{{ on_cluster }} AS {{ db }}.dlq_trades_log;
