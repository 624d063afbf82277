-- As 0008, for the answers, rows and dead letters of series, which also go to Iceberg.
CREATE TABLE IF NOT EXISTS {{ db }}.series_dead_letters_leaving{{ on_cluster }} AS {{ db }}.series_dead_letters;

{% for one in series %}
{% for table in (one.landing, one.staging, one.snapshots) %}
CREATE TABLE IF NOT EXISTS {{ db }}.{{ table }}_leaving{{ on_cluster }} AS {{ db }}.{{ table }};
{% endfor %}
{% endfor %}
