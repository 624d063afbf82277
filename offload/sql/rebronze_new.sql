-- Bronze rows of cold Raw by the very query of the live view.
INSERT INTO bronze_trades_staged ({{ columns | join(', ') }})
SELECT {{ columns | join(', ') }}
FROM
(
{{ view_query }}
)
SETTINGS insert_deduplicate = 0, max_partitions_per_insert_block = 0
