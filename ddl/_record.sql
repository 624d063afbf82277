-- Writes statements and their states to the journal, with the server's definitions of their objects. No migration.
INSERT INTO {{ db }}.{{ journal }}
SELECT entry.1, entry.2, entry.3, entry.4, entry.5, entry.6, create_table_query, now64(6, 'UTC')
FROM
(
    SELECT arrayJoin([
{% for entry, state in entries %}
        ({{ entry.key | literal }}, {{ entry.migration | literal }}, {{ entry.object | literal }},
         {{ entry.kind.value | literal }}, {{ entry.sha256 | literal }}, {{ state | literal }}){{ "," if not loop.last }}
{% endfor %}
    ]) AS entry
) AS entries
LEFT JOIN
(
    SELECT name, create_table_query
    FROM system.tables
    WHERE database = {{ db | literal }}
        AND name IN ({% for entry, _ in entries %}{{ entry.object | literal }}{{ ", " if not loop.last }}{% endfor %})
) AS tables ON tables.name = entry.3
