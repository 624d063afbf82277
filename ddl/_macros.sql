{#- Clauses that several migrations share. On a cluster only engines, windows and ON CLUSTER differ. -#}

{%- macro merge_tree(kind='', arguments='') -%}
{{ 'Replicated' if cluster else '' }}{{ kind }}MergeTree{{ '(' ~ arguments ~ ')' if arguments else '' }}
{%- endmacro -%}

{#- The default window is 0: the server would forget insert tokens at once, and a retry would duplicate rows. -#}
{%- macro remember_inserts() -%}
{%- if cluster -%}
replicated_deduplication_window = {{ deduplication_window }}, replicated_deduplication_window_seconds = 604800
{%- else -%}
non_replicated_deduplication_window = {{ deduplication_window }}
{%- endif -%}
{%- endmacro -%}

{#- Whether a time can be that of a trade, and fits into a DateTime64(6): 1970-01-01 < t < 2200-01-01. -#}
{%- macro is_plausible(micros) -%}
({{ micros }} > 0 AND {{ micros }} < {{ end_us }})
{%- endmacro -%}

{%- macro micros_or_epoch(micros) -%}
fromUnixTimestamp64Micro(if({{ is_plausible(micros) }}, {{ micros }}, toInt64(0)), 'UTC')
{%- endmacro -%}

{#- A Kafka time in ms that every layer can store, 1970-01-01 <= t < 2200-01-01, from any number. A larger number is read
    as µs, then as ns, then as a smaller unit. A negative one counts by its distance from -1. A number within the range
    stays as it is, so a second call changes nothing, and a redelivered message keeps its time. `schemas/kafka_time.py`
    does the same. -#}
{%- macro bounded_ms(ms) -%}
{%- set size = "greatest(" ~ ms ~ ", bitNot(" ~ ms ~ "))" -%}
intDiv({{ size }}, multiIf({{ size }} < {{ end_us // 1000 }}, 1, {{ size }} < {{ end_us }}, 1000, {{ size }} < {{ end_us * 1000 }}, 1000000, 1000000000))
{%- endmacro -%}

{#- As `bounded_ms`, of a DateTime64. Versions before 0.2 stored Kafka's number unchanged, so it is bounded when read. -#}
{%- macro kafka_time(column) -%}
fromUnixTimestamp64Milli({{ bounded_ms('toUnixTimestamp64Milli(' ~ column ~ ')') }}, 'UTC')
{%- endmacro -%}

{#- Whether a stored Kafka time has to be bounded. -#}
{%- macro is_no_kafka_time(column) -%}
({{ column }} < fromUnixTimestamp64Milli(toInt64(0), 'UTC') OR {{ column }} >= fromUnixTimestamp64Milli(toInt64({{ end_us // 1000 }}), 'UTC'))
{%- endmacro -%}

{#- Whether a stored Kafka time is in [from, to] (ms), in a form that an index can use, or has to be bounded first. -#}
{%- macro kafka_time_between(column, from_ms, to_ms) -%}
({{ column }} >= fromUnixTimestamp64Milli({{ from_ms }}, 'UTC') AND {{ column }} <= fromUnixTimestamp64Milli({{ to_ms }}, 'UTC')
          OR {{ is_no_kafka_time(column) }})
{%- endmacro -%}

{#- Normalises an exchange's time: defines `micros`, µs since the epoch (UTC), not plausible if `text` is no time. All SQL
    takes it from here. It reads integers and decimals in s, ms, µs or ns (told apart by magnitude), and ISO 8601 with Z,
    an offset or none (UTC). Digits after the µs are cut, never rounded. The comparison with toString refuses dates that
    do not exist, such as February 30th, which the parser would turn into March. It has few functions, because each is
    planned again with every insert, which takes longer than to run it on a small block. A number is read from digits
    alone: a larger one would stop the insert on a server that evaluates all branches. -#}
{%- macro micros_of(text) -%}
extract({{ text }}, '^[0-9]{1,19}(?:[.][0-9]+)?$') AS time_digits,
    toDecimal128OrZero(time_digits, 6) AS time_number,
    substring({{ text }}, 1, 10) AS time_day,
    multiIf(
        time_digits != '',
        toInt64(multiIf(
            time_number < 100000000000, time_number * 1000000,
            time_number < 100000000000000, time_number * 1000,
            time_number < 100000000000000000, time_number,
            time_number / 1000)),
        match({{ text }}, '^(?:19|2[0-2])[0-9]{2}-[0-9]{2}-[0-9]{2}[Tt ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:[.,][0-9]+)?(?:[Zz]|[+-](?:[01][0-9]|2[0-3])(?::?[0-5][0-9])?)?$')
            AND toString(toDate32OrZero(time_day)) = time_day,
        toUnixTimestamp64Micro(parseDateTime64BestEffortOrZero(
            replaceRegexpOne(translate({{ text }}, 'tz,', 'TZ.'), '([.][0-9]{6})[0-9]+', '\\1'), 6, 'UTC')),
        toInt64(-1)) AS micros
{%- endmacro -%}

{#- The order of Silver as one string: big-endian time, big-endian sequence, trade id. Strings compare as the tuples do.
    argMin over a tuple takes 2.6 times as long. -#}
{%- macro order_key(row) -%}
concat(
        reinterpretAsFixedString(byteSwap(toUInt64(toUnixTimestamp64Micro({{ row }}.timestamp)))),
        reinterpretAsFixedString(byteSwap({{ row }}.sequence)),
        {{ row }}.trade_id)
{%- endmacro -%}

{#- The time of the trade in a state of argMin or argMax over `order_key`. A state is stored as a byte (1: it has a
    value), the price (16 bytes), the length of the key (4 bytes) and the key, whose first 8 bytes are the time. -#}
{%- macro time_of(state) -%}
fromUnixTimestamp64Micro(reinterpretAsInt64(reverse(substring(toString({{ state }}), 22, 8))), 'UTC')
{%- endmacro -%}
