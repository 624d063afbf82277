-- Duplicates and dead letters are in Iceberg too: where the durability gate looks at their partitions last (see 0008).
CREATE TABLE IF NOT EXISTS {{ db }}.duplicate_trades_leaving{{ on_cluster }} AS {{ db }}.duplicate_trades;

CREATE TABLE IF NOT EXISTS {{ db }}.dlq_trades_log_leaving{{ on_cluster }} AS {{ db }}.dlq_trades_log;
