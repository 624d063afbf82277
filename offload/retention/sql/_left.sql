{#- What the gate let go, for the views of hot and cold rows. -#}

{#- A scalar of two lists, partitions and until when their rows are confirmed: all branches of one query see the same.
    The first entry, of no partition, is there because `transform` takes no empty list. -#}
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
