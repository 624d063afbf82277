-- As 0008, for the answers and rows of series that are in Iceberg as well.
{% for one in series %}
{% for table in (one.landing, one.staging, one.snapshots) %}
CREATE TABLE IF NOT EXISTS {{ db }}.{{ table }}_leaving{{ on_cluster }} AS {{ db }}.{{ table }};
{% endfor %}
{% endfor %}
