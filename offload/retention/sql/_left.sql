{#- The partitions that have left the hot tables, for the views of hot and cold rows. -#}

{#- A scalar of two lists: partitions, and until when the rows of each are confirmed. All branches of one query read the
    same scalar. `transform` takes no empty list, so the first entry names no partition. -#}
{% macro gone(table) -%}
(
        SELECT (arrayPushFront(groupArray(partition_id), 0),
                arrayPushFront(groupArray(until), toDateTime64(0, 6, 'UTC')))
        FROM
        (
            SELECT partition_id, max(confirmed_until) AS until
            FROM left_partitions
            WHERE table_name = {{ table | literal }}
            GROUP BY partition_id
        )
    ) AS gone
{%- endmacro %}
