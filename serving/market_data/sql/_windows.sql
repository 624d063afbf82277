{#- Start of the window of an interval that a DateTime64 in UTC is in; `seconds` 0: the calendar month. -#}
{%- macro window(moment, seconds, offset) -%}
{% if seconds %}
toDateTime64(intDiv(toUnixTimestamp64Second({{ moment }}) - {{ offset }}, {{ seconds }}) * {{ seconds }} + {{ offset }}, 0, 'UTC')
{%- elif offset %}
toDateTime64(toStartOfMonth({{ moment }} - toIntervalSecond({{ offset }})), 0, 'UTC') + toIntervalSecond({{ offset }})
{%- else %}
toDateTime64(toStartOfMonth({{ moment }}), 0, 'UTC')
{%- endif %}
{%- endmacro -%}

{%- macro window_end(start, seconds) -%}
{{ start }} + {{ 'INTERVAL %d SECOND' % seconds if seconds else 'INTERVAL 1 MONTH' }}
{%- endmacro -%}

{#- Sums in 76 digits: a sum of Decimal(38) overflows without a word. -#}
{%- macro total(column, scale) -%}
toString(sum(toDecimal256({{ column }}, {{ scale }})))
{%- endmacro -%}
