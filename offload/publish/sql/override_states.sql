{%- import '_states.sql' as gold -%}
{%- set rows -%}
(SELECT *
FROM {{ source }}
WHERE exchange IN ({% for key in keys %}{{ key | literal }}{{ ', ' if not loop.last }}{% endfor %})
  AND timestamp >= fromUnixTimestamp64Micro({{ from_us }}, 'UTC')
  AND timestamp < fromUnixTimestamp64Micro({{ to_us }}, 'UTC'))
{%- endset -%}
{{ gold.states(rows, timeframes) }}
