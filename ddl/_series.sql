{#- Turns the answers of providers into typed rows and dead letters, for every declared series (series/declared). The
    fields of a row are texts. No text makes an expression here fail, because then the whole answer would be refused. -#}
{%- import '_macros.sql' as sql -%}

{#- The clocks of a provider and ours may differ by this much, µs. -#}
{%- set clocks_differ = 60000000 -%}

{%- macro type_of(column) -%}
{%- set plain = {'text': 'LowCardinality(String)', 'time': "DateTime64(6, 'UTC')", 'decimal': 'Decimal(38, 18)', 'integer': 'UInt64'}[column.type] -%}
{{ 'Nullable(' ~ plain ~ ')' if column.is_optional else plain }}
{%- endmacro -%}

{#- The typed columns of a series' tables, each with a comment. The tables exist, so these texts stay as they are; the
    views of `shown_columns` are made again when a text changes. -#}
{%- macro columns(series) %}
{% for column in series.columns %}
    {{ column.name }} {{ type_of(column) }} COMMENT {{ (column.comment ~ ('; exact: calculate with the view ' ~ series.name if column.type == 'decimal' else '')) | literal }},
{% endfor %}
{% if series.frame %}
    is_closed Bool COMMENT 'the window was over when the provider answered',
{% endif %}
    provider LowCardinality(String) COMMENT 'who said so',
    answer_id String COMMENT 'the answer it is from: see {{ series.landing }}' CODEC(ZSTD(1)),
    place UInt32 COMMENT 'its place among the rows of the answer, from 1' CODEC(T64, ZSTD(1)),
    received_at DateTime64(6, 'UTC') COMMENT 'when the answer came' CODEC(Delta, ZSTD(1))
{%- endmacro -%}

{%- macro names(series) -%}
{% for column in series.columns %}{{ column.name }}, {% endfor %}{{ 'is_closed, ' if series.frame else '' }}provider, answer_id, place, received_at
{%- endmacro -%}

{#- A decimal is read with 36 places, and must be equal with 18. The pattern refuses texts with digits that even 36 places
    would cut. A zero is replaced first: whatever its exponent, it has no digits to lose. -#}
{%- macro decimal_of(name) -%}
match(row.{{ name }}, '^[+-]?[0-9]+([.][0-9]+)?([eE][+-]?[0-9]+)?$') AS {{ name }}_is_number,
        replaceRegexpOne(row.{{ name }}, '^[+-]?[0.]+[eE].*$', '0') AS {{ name }}_text,
        match({{ name }}_text, '^[+-]?0*[0-9]{1,20}([.][0-9]{1,18}0*)?([eE][+-]?0*1?[0-9])?$') AS {{ name }}_is_short,
        ifNull(toDecimal256OrNull(if({{ name }}_is_short, {{ name }}_text, ''), 36), toDecimal256('100000000000000000000', 36)) AS {{ name }}_wide,
        CAST(if(abs({{ name }}_wide) < toDecimal256('100000000000000000000', 36), {{ name }}_wide, toDecimal256(0, 36)), 'Decimal(38, 18)') AS {{ name }}_value,
        toDecimal256({{ name }}_value, 36) = {{ name }}_wide AS {{ name }}_fits,
{%- endmacro -%}

{%- macro integer_of(name) -%}
match(row.{{ name }}, '^[0-9]+$') AS {{ name }}_is_number,
        match(row.{{ name }}, '^0*[0-9]{1,19}$') AS {{ name }}_fits,
        toUInt64OrZero(if({{ name }}_fits, row.{{ name }}, '')) AS {{ name }}_value,
{%- endmacro -%}

{%- macro bound(column, value) -%}
{{ "toDecimal128('%d', 18)" % value if column.type == 'decimal' else 'toInt128(%d)' % value }}
{%- endmacro -%}

{%- macro broken(column, condition, reason) -%}
{{ "row.%s != '' AND " % column.name if column.is_optional else '' }}{{ condition }}, ({{ reason | literal }}, {{ column.name | literal }}, row.{{ column.name }}),
{%- endmacro -%}

{#- The rows of the answers in `source`, with types, and the first rule that each row breaks. -#}
{%- macro validated(series, source) -%}
    SELECT
        answer.provider AS provider,
        answer.request AS request,
        answer.received_at AS received_at,
        answer.answer_id AS answer_id,
        answer.body AS body,
        row,
        toUInt32(row_place) AS place,
        {{ sql.micros_of('row.' ~ series.time) }},
        fromUnixTimestamp64Micro(if({{ sql.is_plausible('micros') }}, micros, toInt64(0)), 'UTC') AS {{ series.time }}_value,
{% for column in series.columns %}
{% if column.type == 'decimal' %}
        {{ decimal_of(column.name) }}
{% elif column.type == 'integer' %}
        {{ integer_of(column.name) }}
{% elif column.type == 'text' %}
        row.{{ column.name }} AS {{ column.name }}_value,
{% endif %}
{% endfor %}
{% if series.frame %}
        transform(row.{{ series.frame }}, [{% for code in series.frames %}{{ code | literal }}{{ '' if loop.last else ', ' }}{% endfor %}], [{{ series.frames.values() | join(', ') }}], 0) * toInt64(1000000) AS frame_micros,
        micros + frame_micros <= toUnixTimestamp64Micro(received_at) AS is_closed,
{% endif %}
        multiIf(
            answer.defect != '', (toString(answer.defect), 'answer', ''),
            row.unreadable != '', ('row_unreadable', 'row', ''),
{% for column in series.columns %}
{% if not column.is_optional %}
            row.{{ column.name }} = '', ('missing', {{ column.name | literal }}, ''),
{% endif %}
{% if column.is_number %}
            {{ broken(column, 'NOT ' ~ column.name ~ '_is_number', 'not_a_number') }}
            {{ broken(column, 'NOT ' ~ column.name ~ '_fits', 'too_precise') }}
{% endif %}
{% if column.one_of %}
            {{ broken(column, 'row.' ~ column.name ~ ' NOT IN (' ~ (column.one_of | map('literal') | join(', ')) ~ ')', 'unknown_value') }}
{% endif %}
{% if column.type == 'time' %}
            {{ broken(column, 'NOT ' ~ sql.is_plausible('micros'), 'time_invalid') }}
            {{ broken(column, 'micros > toUnixTimestamp64Micro(received_at) + ' ~ clocks_differ, 'time_in_future') }}
{% endif %}
{% endfor %}
{% if series.frame %}
            micros % frame_micros != 0, ('not_aligned', {{ series.time | literal }}, row.{{ series.time }}),
{% endif %}
{% for column in series.columns %}
{% if column.above is not none %}
            {{ broken(column, column.name ~ '_value <= ' ~ bound(column, column.above), 'out_of_range') }}
{% endif %}
{% if column.from_ is not none %}
            {{ broken(column, column.name ~ '_value < ' ~ bound(column, column.from_), 'out_of_range') }}
{% endif %}
{% if column.to is not none %}
            {{ broken(column, column.name ~ '_value > ' ~ bound(column, column.to), 'out_of_range') }}
{% endif %}
{% for other in column.not_below %}
            {{ broken(column, "row." ~ other ~ " != '' AND " ~ column.name ~ '_value < ' ~ other ~ '_value', 'contradicts') }}
{% endfor %}
{% for other in column.not_above %}
            {{ broken(column, "row." ~ other ~ " != '' AND " ~ column.name ~ '_value > ' ~ other ~ '_value', 'contradicts') }}
{% endfor %}
{% endfor %}
            ('', '', '')) AS verdict
    FROM {{ source }} AS answer
    LEFT ARRAY JOIN answer.rows AS row, arrayEnumerate(answer.rows) AS row_place
    WHERE notEmpty(answer.rows) OR answer.defect != ''
{%- endmacro -%}

{#- The amounts of a stored row as a view shows them: exact, or the nearest double. -#}
{%- macro shown(series, exact) -%}
{% for column in series.columns %}
    {{ 'toFloat64(toString(stored.%s))' % column.name if column.type == 'decimal' and not exact else 'stored.' ~ column.name }} AS {{ column.name }},
{% endfor %}
{% if series.frame %}
    stored.is_closed AS is_closed,
{% endif %}
    stored.provider AS provider,
    stored.answer_id AS answer_id,
    stored.place AS place,
    stored.received_at AS received_at
{%- endmacro -%}

{%- macro shown_columns(series, exact) -%}
{% for column in series.columns %}
{% set plain = {'text': 'String', 'decimal': 'Decimal(38, 18)' if exact else 'Float64'}.get(column.type, type_of(column)) %}
    {{ column.name }} {{ 'Nullable(' ~ plain ~ ')' if column.is_optional and column.type == 'decimal' else plain }} COMMENT {{ (column.comment ~ (('; exact' if exact else '; the double nearest to the exact value') if column.type == 'decimal' else '')) | literal }},
{% endfor %}
{% if series.frame %}
    is_closed Bool COMMENT 'the window was over when the provider answered',
{% endif %}
    provider String COMMENT 'the service that published the row: binance',
    answer_id String COMMENT 'the answer it is from: see {{ series.landing }}',
    place UInt32 COMMENT 'its place among the rows of the answer, from 1',
    received_at DateTime64(6, 'UTC') COMMENT 'when the answer came'
{%- endmacro -%}

{#- How many rows each day of a market should have, derived from its stored rows; 0 if they do not show it. Distances
    between rows are in minutes, because venues stamp some rows a few ms late. The distances of the day, of the day before
    and of the day after count. The least of them is the interval if no other distance occurs twice, and all others, which
    are holes, are multiples of it. A market whose interval changes has two distances that occur twice. A distance of more
    than a day shows nothing. -#}
{%- macro observed(series, source) -%}
{%- set market = ['exchange', 'symbol'] | select('in', series.key) | join(', ') -%}
{%- set of_market = 'PARTITION BY ' ~ market if market else '' -%}
    SELECT
        {{ market ~ ', ' if market else '' }}day,
        groupArrayArray(day_distances) OVER ({{ of_market }} ORDER BY toInt32(day) RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING) AS distances,
        arrayDistinct(arrayFilter(distance -> countEqual(distances, distance) > 1, distances)) AS repeated,
        repeated[1] AS interval,
        toUInt64(if(
            length(repeated) = 1 AND arrayAll(distance -> distance % greatest(interval, 1) = 0, distances) AND 1440 % greatest(interval, 1) = 0,
            intDiv(1440, greatest(interval, 1)),
            0)) AS of_day
    FROM
    (
        SELECT {{ market ~ ', ' if market else '' }}toDate(time) AS day, groupArrayIf(distance, distance BETWEEN 1 AND 1440) AS day_distances
        FROM
        (
            SELECT
                {{ market ~ ', ' if market else '' }}{{ series.time }} AS time,
                intDiv(toUnixTimestamp64Micro(time) - toUnixTimestamp64Micro(lagInFrame(time) OVER ({{ of_market }} ORDER BY time ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)) + 30000000, 60000000) AS distance
            FROM {{ source }} FINAL
        )
        GROUP BY {{ market ~ ', ' if market else '' }}day
    )
{%- endmacro -%}
