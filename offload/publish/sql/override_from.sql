{% macro switched() %}(SELECT count() FROM {{ db }}.rederivations WHERE publication = {{ publication | literal }} AND step = 'switched'){% endmacro %}
SELECT *
FROM {{ db }}.gold_ohlcv_state
WHERE NOT ({{ condition }}){% if source != 'silver' %} OR {{ switched() }} = 0{% endif %}

UNION ALL
SELECT *
FROM
(
{{ states }}
)
{% if source != 'silver' %}
WHERE {{ switched() }} > 0
{% endif %}
