-- Retention as data. Nothing here deletes rows: the durability gate does, and only rows that Iceberg has confirmed.
CREATE OR REPLACE VIEW {{ db }}.retention{{ on_cluster }}
(
    table_name String COMMENT 'hot table',
    event_time String COMMENT 'its column with the time of the event; empty: none',
    arrival_time String COMMENT 'its column with the time of arrival; empty: none',
    days UInt32 COMMENT 'how long its rows stay in ClickHouse, days',
    partition_prefix String COMMENT 'what its partitions begin with'
)
AS
SELECT *
FROM VALUES(
    'table_name String, event_time String, arrival_time String, days UInt32, partition_prefix String',
{%- for entry in retention %}
    ({{ entry.table | literal }}, {{ entry.event_time | literal }}, {{ entry.arrival_time | literal }}, {{ entry.days }}, {{ entry.partition_prefix | literal }}){{ '' if loop.last else ',' }}
{%- endfor %}
);
