{#- The raw coordinates of a row as one text, as offload/proof/rejections.py writes them. -#}
{%- macro place(row) -%}
concat(toString({{ row }}.raw_topic), '[', toString({{ row }}.raw_partition), ']@', toString({{ row }}.raw_offset), ' ',
       toString(toUnixTimestamp64Milli({{ row }}.published_at)))
{%- endmacro -%}
