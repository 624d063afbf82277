-- Hot rows of one exchange and day, of the arrival hours that are in Iceberg.
SELECT *
FROM
(
{{ select }}
)
WHERE exchange = {key:String}
{% if hours %}
  AND toInt64(toUnixTimestamp(toStartOfHour(validated_at, 'UTC'))) IN ({{ hours | join(', ') }})
{% endif %}
