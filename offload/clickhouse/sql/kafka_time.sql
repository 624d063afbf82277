{% import '_macros.sql' as sql %}
{{ sql.kafka_time(column) }}
