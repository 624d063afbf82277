-- How far each cold table reaches, for SQL. It is a copy: the Iceberg tables hold the original. Every offload run updates
-- it after its commits, so the copy may lag behind and is never ahead.
CREATE TABLE IF NOT EXISTS {{ db }}.offload_watermarks{{ on_cluster }}
(
    table_name LowCardinality(String) COMMENT 'the cold table',
    slice String COMMENT 'an hour of arrival, or of Gold an exchange and the first day of its partition',
    exchange LowCardinality(String) COMMENT 'of Gold',
    starts_at DateTime64(6, 'UTC'),
    ends_at DateTime64(6, 'UTC'),
    cold_rows UInt64 COMMENT 'rows in Iceberg',
    is_final UInt8 COMMENT 'the slice was over when it was offloaded',
    exported_until DateTime64(6, 'UTC') COMMENT 'end of the latest candle that was taken',
    attempt String COMMENT 'files of the slice begin with it, until they are compacted',
    mirrored_at DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {{ sql.merge_tree('Replacing', 'mirrored_at') }}
ORDER BY (table_name, slice)
COMMENT 'Copy of the watermarks in Iceberg, one row a slice: read with FINAL, or offload_progress';

CREATE OR REPLACE VIEW {{ db }}.offload_progress{{ on_cluster }}
(
    table_name LowCardinality(String) COMMENT 'hot table',
    complete_until DateTime64(6, 'UTC') COMMENT 'all rows before this are in Iceberg',
    slices UInt64 COMMENT 'hours that were offloaded',
    open_slices UInt64 COMMENT 'of these, hours that are written again',
    rows UInt64 COMMENT 'rows in Iceberg',
    changed_at DateTime64(6, 'UTC') COMMENT 'the last change'
)
AS
SELECT
    table_name,
    maxIf(ends_at, is_final) AS complete_until,
    count() AS slices,
    countIf(NOT is_final) AS open_slices,
    sum(cold_rows) AS rows,
    max(mirrored_at) AS changed_at
FROM {{ db }}.offload_watermarks FINAL
GROUP BY table_name;
