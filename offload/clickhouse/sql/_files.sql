{#- Rows of data files. One from before a column means what `meant` says (SQL by name), not the type's own default. -#}
{% macro rows(function, arguments, meant) -%}
SELECT *
{%- if meant %} REPLACE (
{%- for name, value in meant.items() %}
{{ ', ' if not loop.first }}if({{ name }} = defaultValueOfArgumentType({{ name }}), {{ value }}, {{ name }}) AS {{ name }}
{%- endfor %}
)
{%- endif %}

FROM {{ function }}({{ arguments }})
{%- endmacro %}
