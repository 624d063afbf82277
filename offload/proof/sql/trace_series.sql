-- Every version of one row of a series.
SELECT *
FROM {{ table }} FINAL
WHERE 1
{% for name, type in key_types.items() %}
{% set value = '{' ~ name ~ ':' ~ type ~ '}' %}
  AND {{ name | name }} = {{ "fromUnixTimestamp64Micro(%s, 'UTC')" % value if name == time else value }}
{% endfor %}
