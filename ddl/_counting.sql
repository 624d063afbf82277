{#- What of Silver a candle counts: the one place that all SQL has it from (the kinds: schemas/kinds.py). -#}

{%- macro is_counted(row) -%}
{{ row }}.trade_kind IN ({% for kind in counted_kinds %}{{ kind | literal }}{{ '' if loop.last else ', ' }}{% endfor %})
{%- endmacro -%}

{#- How many trades the exchange counts in its own candle: a row may sum up several matches. -#}
{%- macro trades(row) -%}
sum({{ row }}.match_count)
{%- endmacro -%}
