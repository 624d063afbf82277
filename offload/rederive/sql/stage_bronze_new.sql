-- Stage Bronze rows computed from cold Raw by the query of the live view.
INSERT INTO bronze_trades_staged ({{ columns | join(', ') }})
SELECT {{ columns | join(', ') }}
FROM
(
{{ view_query }}
)
SETTINGS deduplicate_insert_select = 'disable', max_partitions_per_insert_block = 0
