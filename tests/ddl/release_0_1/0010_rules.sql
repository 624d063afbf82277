-- Every version of the rules that a worker judged by: what a rules_version in Silver or the dead letters stands for.
-- A batch whose worker died is judged again by the version it was begun with, wherever it is taken up.
CREATE TABLE IF NOT EXISTS {{ db }}.rules_versions{{ on_cluster }}
(
    rules_version String,
    document String COMMENT 'the symbols file, without comments and layout' CODEC(ZSTD(3)),
    first_seen DateTime64(6, 'UTC') DEFAULT now64(6, 'UTC')
)
ENGINE = {{ sql.merge_tree('Replacing') }}
ORDER BY rules_version
COMMENT 'The registry behind each rules_version; one row a version, read with LIMIT 1';
