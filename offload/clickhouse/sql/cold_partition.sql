-- Cold rows of one hot partition, only of the arrival hours of which the partition still has rows.
SELECT *
FROM
(
{{ source }}
)
WHERE {{ event }} >= fromUnixTimestamp64Micro({event_from_us:Int64}, 'UTC')
  AND {{ event }} < fromUnixTimestamp64Micro({event_to_us:Int64}, 'UTC')
{% if hours %}
  AND toInt64(toUnixTimestamp(toStartOfHour({{ arrival }}, 'UTC'))) IN ({{ hours | join(', ') }})
{% endif %}
{% if key %}
  AND exchange = {key:String}
{% endif %}
