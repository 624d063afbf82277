{#- Which rows of Silver a candle counts. All SQL takes it from here; the kinds are in schemas/kinds.py. -#}

{%- macro is_counted(row) -%}
{{ row }}.trade_kind IN ({% for kind in counted_kinds %}{{ kind | literal }}{{ '' if loop.last else ', ' }}{% endfor %})
{%- endmacro -%}

{#- The number of trades of a candle. A row may sum up several matches, and exchanges count each of them. -#}
{%- macro trades(row) -%}
sum({{ row }}.match_count)
{%- endmacro -%}
