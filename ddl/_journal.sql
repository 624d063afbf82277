-- The database and its journal: the newest row of each statement counts.
CREATE DATABASE IF NOT EXISTS {{ db }}{{ on_cluster }} ENGINE = Atomic;

CREATE TABLE IF NOT EXISTS {{ db }}.schema_migrations{{ on_cluster }}
(
    statement String COMMENT 'migration/object, or migration/position where the statement makes no object',
    migration LowCardinality(String) COMMENT 'file without .sql',
    object String COMMENT 'what it creates or alters; empty for data',
    kind LowCardinality(String),
    sha256 String COMMENT 'of the rendered statement',
    state Enum8('started' = 1, 'done' = 2, 'dropped' = 3),
    definition String COMMENT 'create_table_query that the server had right after',
    applied_at DateTime64(6, 'UTC')
)
ENGINE = {{ sql.merge_tree('Replacing', 'applied_at') }}
ORDER BY statement;
