-- A statement is begun, done or dropped: with what the server says of its object. No migration.
INSERT INTO {{ db }}.{{ journal }}
SELECT
    {{ entry.key | literal }},
    {{ entry.migration | literal }},
    {{ entry.object | literal }},
    {{ entry.kind.value | literal }},
    {{ entry.sha256 | literal }},
    {{ state | literal }},
    (SELECT any(create_table_query) FROM system.tables WHERE database = {{ db | literal }} AND name = {{ entry.object | literal }}),
    now64(6, 'UTC')
