{% from '_layers.sql' import retention, timeframes %}
-- Retention as data. Nothing here deletes: the durability gate does, and only what Iceberg has confirmed.
CREATE OR REPLACE VIEW {{ db }}.retention{{ on_cluster }}
AS
SELECT *
FROM VALUES(
    'table_name String, event_time String, arrival_time String, days UInt32',
{%- for entry in retention %}
    ({{ entry.table | literal }}, {{ entry.event_time | literal }}, {{ entry.arrival_time | literal }}, {{ entry.days }}){{ '' if loop.last else ',' }}
{%- endfor %}
);
