-- Partitions of a hot table that have left for Iceberg. The cold tier has all their rows that arrived until
-- `confirmed_until`; rows in the hot table are newer. The durability gate writes here before it moves a partition, and
-- the views `…_all` read it.
CREATE TABLE IF NOT EXISTS {{ db }}.left_partitions{{ on_cluster }}
(
    table_name LowCardinality(String) COMMENT 'the hot table',
    partition_id UInt32 COMMENT 'YYYYMMDD or YYYYMM',
    confirmed_until DateTime64(6, 'UTC') COMMENT 'newest arrival among the rows that Iceberg confirmed',
    left_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {{ sql.merge_tree('Replacing', 'left_at') }}
ORDER BY (table_name, partition_id, confirmed_until)
COMMENT 'Partitions that left the hot tables for Iceberg, written by the durability gate';
