-- Every row of Raw, Silver or snapshots, hot or cold, once. A partition (day or month) is read from the hot table until it
-- leaves, then from Iceberg, with the rows that arrived hot since. A row that is in both is shown as the hot table has it.
-- Rows that the gate moves arrived before, so it does not matter in which table they are at this moment.
-- With `IN (SELECT …)` and plain casts the server can skip partitions and files by time.
{% import '_left.sql' as left %}
CREATE OR REPLACE VIEW {{ view }}
(
{% for name, kind, comment in columns %}
    {{ name }} {{ kind }} COMMENT {{ comment | literal }}{{ ',' if not loop.last }}
{% endfor %}
)
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
WITH
    {{ left.gone(cold) }}
SELECT {{ names | join(', ') }}
FROM {{ hot }}
WHERE {{ period }}({{ event }}) NOT IN (SELECT arrayJoin(gone.1))
UNION ALL
{% for table in (hot, hot ~ '_leaving') %}
SELECT {{ names | join(', ') }}
FROM {{ table }}
WHERE {{ period }}({{ event }}) IN (SELECT arrayJoin(gone.1))
  AND {{ arrival }} > transform({{ period }}({{ event }}), gone.1, gone.2, toDateTime64(0, 6, 'UTC'))
UNION ALL
{% endfor %}
SELECT {{ casts | join(', ') }}
FROM {{ source }} AS cold
WHERE {{ period }}(cold.{{ event }}) IN (SELECT arrayJoin(gone.1))
  AND ({% for name in key %}cold.{{ name }}{{ ', ' if not loop.last }}{% endfor %}) NOT IN
      (
{% for table in (hot, hot ~ '_leaving') %}
          SELECT {% for sql in hot_key %}{{ sql }}{{ ', ' if not loop.last }}{% endfor %}

          FROM {{ table }}
          WHERE {{ period }}({{ event }}) IN (SELECT arrayJoin(gone.1))
            AND {{ arrival }} > transform({{ period }}({{ event }}), gone.1, gone.2, toDateTime64(0, 6, 'UTC'))
          {{ 'UNION ALL' if not loop.last }}
{% endfor %}
      )
