{#- Rows of data files. For files without a column, `earlier_values` (SQL by name) replaces the type's default. -#}
{% macro rows(function, arguments, earlier_values) -%}
SELECT *
{%- if earlier_values %} REPLACE (
{%- for name, value in earlier_values.items() %}
{{ ', ' if not loop.first }}if({{ name }} = defaultValueOfArgumentType({{ name }}), {{ value }}, {{ name }}) AS {{ name }}
{%- endfor %}
)
{%- endif %}

FROM {{ function }}({{ arguments }})
{%- endmacro %}
