-- One Parquet file: one slice and one partition of a cold table, in the table's sort order.
SELECT *
FROM (
{{ select }}
)
ORDER BY {{ sort | join(', ') }}
