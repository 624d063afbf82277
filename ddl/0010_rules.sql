-- The symbols file of every rules_version in Silver and in the dead letters.
-- An insert whose worker died is repeated by another worker, and validated by the version with which it began.
CREATE TABLE IF NOT EXISTS {{ db }}.rules_versions{{ on_cluster }}
(
    rules_version String,
    document String COMMENT 'the symbols file, without comments and layout' CODEC(ZSTD(3)),
    first_seen DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {{ sql.merge_tree('Replacing') }}
ORDER BY rules_version
COMMENT 'The registry behind each rules_version; one row a version, read with LIMIT 1';
