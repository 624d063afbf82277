{% macro here(time) %}exchange IN ({% for key in keys %}{{ key | literal }}{{ ', ' if not loop.last }}{% endfor %}) AND {{ time }} >= toDateTime({{ from_us // 1000000 }}, 'UTC') AND {{ time }} < toDateTime({{ to_us // 1000000 }}, 'UTC'){% endmacro %}
{% macro switched() %}(SELECT count() FROM {{ switch }} WHERE publication = {{ publication | literal }} AND step = 'switched'){% endmacro %}
SELECT *
FROM {{ states }}
WHERE NOT ({{ here('window_start') }}){% if switch %} OR {{ switched() }} = 0{% endif %}

UNION ALL
SELECT *
FROM
(
{{ live }}
)
{% if switch %}
WHERE {{ switched() }} > 0
{% endif %}
