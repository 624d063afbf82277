{#- Clauses that several migrations share. A cluster changes engines, windows and ON CLUSTER, nothing else. -#}

{%- macro merge_tree(kind='', arguments='') -%}
{{ 'Replicated' if cluster else '' }}{{ kind }}MergeTree{{ '(' ~ arguments ~ ')' if arguments else '' }}
{%- endmacro -%}

{#- Without a window the server forgets insert tokens at once (its default is 0) and a retry duplicates. -#}
{%- macro remember_inserts() -%}
{%- if cluster -%}
replicated_deduplication_window = {{ deduplication_window }}, replicated_deduplication_window_seconds = 604800
{%- else -%}
non_replicated_deduplication_window = {{ deduplication_window }}
{%- endif -%}
{%- endmacro -%}

{#- What a DateTime64(6) can hold without wrapping and what a trade can mean: 1970-01-01 < t < 2200-01-01. -#}
{%- macro is_plausible(micros) -%}
({{ micros }} > 0 AND {{ micros }} < 7258118400000000)
{%- endmacro -%}

{%- macro micros_or_epoch(micros) -%}
fromUnixTimestamp64Micro(if({{ is_plausible(micros) }}, {{ micros }}, toInt64(0)), 'UTC')
{%- endmacro -%}

{#- A Kafka time as ms that every layer can carry, 1970-01-01 <= t < 2200-01-01, whatever a producer gave as one. A number
    beyond that is read as µs, then ns, then less; a negative one by its distance from -1. What fits stays as it is, so
    twice is once, and a redelivered message keeps its time. `schemas/kafka_time.py` does the same. -#}
{%- macro bounded_ms(ms) -%}
{%- set size = "greatest(" ~ ms ~ ", bitNot(" ~ ms ~ "))" -%}
intDiv({{ size }}, multiIf({{ size }} < 7258118400000, 1, {{ size }} < 7258118400000000, 1000, {{ size }} < 7258118400000000000, 1000000, 1000000000))
{%- endmacro -%}

{#- The same of a DateTime64. Versions before 0.2 stored Kafka's number as it came: it is bounded where it is read. -#}
{%- macro kafka_time(column) -%}
fromUnixTimestamp64Milli({{ bounded_ms('toUnixTimestamp64Milli(' ~ column ~ ')') }}, 'UTC')
{%- endmacro -%}

{#- Whether a stored Kafka time has to be bounded. -#}
{%- macro is_no_kafka_time(column) -%}
({{ column }} < fromUnixTimestamp64Milli(toInt64(0), 'UTC') OR {{ column }} >= fromUnixTimestamp64Milli(toInt64(7258118400000), 'UTC'))
{%- endmacro -%}

{#- Stored Kafka times in [from, to] (ms), as an index can look for them, and those that have to be bounded first. -#}
{%- macro kafka_time_between(column, from_ms, to_ms) -%}
({{ column }} >= fromUnixTimestamp64Milli({{ from_ms }}, 'UTC') AND {{ column }} <= fromUnixTimestamp64Milli({{ to_ms }}, 'UTC')
          OR {{ is_no_kafka_time(column) }})
{%- endmacro -%}

{#- The one normaliser of exchange times: defines `micros`, µs since the epoch (UTC), -1 where `text` is no time.
    Integers and decimals in s / ms / µs / ns (told by magnitude; cut, never rounded), ISO-8601 with Z, an offset or none
    (UTC), any number of digits. The round trip through toString refuses dates that no calendar has, which the parser
    would carry over. Each step has a name: text that is repeated instead is analysed again with every insert. -#}
{%- macro micros_of(text) -%}
toUInt64OrZero(extract({{ text }}, '^[0-9]+')) AS time_whole,
    toUInt32OrZero(substring(rightPad(extract({{ text }}, '[.,]([0-9]+)'), 6, '0'), 1, 6)) AS time_fraction,
    concat(substring({{ text }}, 1, 10), ' ', substring({{ text }}, 12, 8)) AS time_clock,
    toDateTime64OrZero(time_clock, 3, 'UTC') AS time_utc,
    extract({{ text }}, '[+-][0-9]{2}:?[0-9]{0,2}$') AS time_zone,
    multiIf(
        match({{ text }}, '^[0-9]{1,19}([.][0-9]+)?$'),
        toInt64(multiIf(
            time_whole < 100000000000, time_whole * 1000000 + time_fraction,
            time_whole < 100000000000000, time_whole * 1000 + intDiv(time_fraction, 1000),
            time_whole < 100000000000000000, time_whole,
            intDiv(time_whole, 1000))),
        match({{ text }}, '^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?([Zz]|[+-]([01][0-9]|2[0-3])(:?[0-5][0-9])?)?$')
            AND toString(time_utc) = concat(time_clock, '.000'),
        (toUnixTimestamp64Second(time_utc)
            - if(startsWith(time_zone, '-'), -1, 1) * (toUInt8OrZero(substring(time_zone, 2, 2)) * 3600
            + if(length(time_zone) > 3, toUInt8OrZero(substring(time_zone, -2)), 0) * 60)) * 1000000
            + time_fraction,
        toInt64(-1)) AS micros
{%- endmacro -%}

{#- The Silver order as one string: big-endian time, big-endian sequence, trade id, so that comparing bytes compares
    the tuple. argMin over a real tuple takes 2.6 times as long. -#}
{%- macro order_key(row) -%}
concat(
        reinterpretAsFixedString(byteSwap(toUInt64(toUnixTimestamp64Micro({{ row }}.timestamp)))),
        reinterpretAsFixedString(byteSwap({{ row }}.sequence)),
        {{ row }}.trade_id)
{%- endmacro -%}

{#- The time of the trade that a state of argMin or argMax over `order_key` holds. A state is stored as a byte (1: it has
    a value), the price (16 bytes), the length of the key (4) and the key, whose first 8 bytes are the time. -#}
{%- macro time_of(state) -%}
fromUnixTimestamp64Micro(reinterpretAsInt64(reverse(substring(toString({{ state }}), 22, 8))), 'UTC')
{%- endmacro -%}
