{#- The columns and queries of the candle views. The migrations make the views of hot candles from them, the offload the
    views of hot and cold candles. -#}

{#- A trade may come after the end of its window. A window without a later trade counts as closed after this time. It
    must not be longer than the shortest candle (see `is_closed`). -#}
{%- set grace_seconds = 60 -%}

{#- The nearest double. `toFloat64` of a Decimal divides two doubles, and is often off by one in the last place. -#}
{%- macro nearest(amount) -%}
toFloat64(toString({{ amount }}))
{%- endmacro -%}

{#- A sum as a Decimal of 38 digits. A CAST accepts some sums of 39 digits, so they are checked before. -#}
{%- macro narrow(amount, scale, name) -%}
if(throwIf(abs({{ amount }}) >= toDecimal256('1{{ '0' * (38 - scale) }}', {{ scale }}),
        'The {{ name }} of a candle needs more than 38 digits: leave this column or this candle out, or read the Float64 views, which round it'),
        toDecimal128(0, {{ scale }}), CAST({{ amount }}, 'Decimal(38, {{ scale }})'))
{%- endmacro -%}

{%- set amounts = [
    ('open', 18, 'first price by (timestamp, sequence, trade_id), quote currency'),
    ('high', 18, 'highest price, quote currency'),
    ('low', 18, 'lowest price, quote currency'),
    ('close', 18, 'last price by (timestamp, sequence, trade_id), quote currency'),
    ('volume', 18, 'sum of quantity, base currency'),
    ('quote_volume', 20, 'sum of price * quantity, quote currency'),
] -%}
{%- set by_side = [
    ('buy_volume', 18, 'the part of volume whose taker bought, base currency'),
    ('sell_volume', 18, 'the part of volume whose taker sold, base currency'),
] -%}
{%- set prices = ['open', 'high', 'low', 'close'] -%}

{#- The columns, each with a comment. `exact`: amounts as Decimal. `hot`: with `updated_at`, which Iceberg lacks. -#}
{%- macro columns(exact, hot) %}
    exchange String COMMENT 'exchange-and-market code',
    symbol String COMMENT 'canonical symbol: BTCUSDT',
    window_start DateTime64(0, 'UTC') COMMENT 'start of the window, UTC',
{% for name, scale, meaning in amounts %}
    {{ column(name, scale, meaning, exact) }},
{% endfor %}
    trade_count UInt64 COMMENT 'trades in the window',
{% for name, scale, meaning in by_side %}
    {{ column(name, scale, meaning, exact) }},
{% endfor %}
{% if hot %}
    updated_at DateTime64(6, 'UTC') COMMENT 'when the newest of its trades was validated',
{% endif %}
    is_closed Bool COMMENT 'the window is over, and the market has a trade at or after its end or the end is {{ grace_seconds }} s ago',
    is_complete Bool COMMENT 'no gap of producer_gaps that is open or unfillable touches the window, from the trade before the gap to the trade after it'
{%- endmacro -%}

{%- macro column(name, scale, meaning, exact) -%}
{{ name }} {{ 'Decimal(38, %d)' % scale if exact else 'Float64' }} COMMENT {{ (meaning ~ ('; exact' if exact else '; the double nearest to the exact value')) | literal }}
{%- endmacro -%}

{#- The amounts of `row`, which has exact decimals, as the view shows them. -#}
{%- macro shown(row, exact, names) -%}
{% for name, scale, _ in names %}
{% set amount = row ~ '.' ~ name %}
{{ '' if loop.first else '\n    ' }}{{ (amount if name in prices else narrow(amount, scale, name)) if exact else nearest(amount) }} AS {{ name }},
{%- endfor -%}
{%- endmacro -%}

{#- One row for each candle of `seconds`, with exact amounts. Sums stay as wide as they are stored. -#}
{%- macro merged(states, seconds) -%}
SELECT
        state.exchange AS exchange,
        state.symbol AS symbol,
        state.window_start AS window_start,
        argMinMerge(state.open) AS open,
        max(state.high) AS high,
        min(state.low) AS low,
        argMaxMerge(state.close) AS close,
        sum(state.volume) AS volume,
        sum(state.quote_volume) AS quote_volume,
        sum(state.trade_count) AS trade_count,
        sum(state.buy_volume) AS buy_volume,
        sum(state.sell_volume) AS sell_volume,
        max(state.updated_at) AS updated_at
    FROM {{ states }} AS state
    WHERE state.frame = {{ seconds }}
    GROUP BY exchange, symbol, window_start
{%- endmacro -%}

{#- Whether a candle of `seconds` is closed. Only for a window that ended less than `grace_seconds` ago, the market's
    minutes are read. Windows are whole minutes, so a minute at or after the window's end has a trade at or after it. -#}
{%- macro is_closed(seconds, states) -%}
toBool(now64(0, 'UTC') >= candle.window_start + {{ seconds }}
        AND (now64(0, 'UTC') >= candle.window_start + {{ seconds + grace_seconds }}
            OR (candle.exchange, candle.symbol) IN (
                SELECT exchange, symbol
                FROM {{ states }}
                WHERE frame = 60 AND window_start >= toDateTime64(intDiv(toUnixTimestamp(now('UTC')), {{ seconds }}) * {{ seconds }}, 0, 'UTC')
            )))
{%- endmacro -%}

{#- The windows that a gap touches, from the trade before it to the trade after it: the first and the last one, and the
    whole days between them. Without the days, a gap of months would become a row for each minute. -#}
{%- macro gap_spans(seconds, gaps) -%}
SELECT
                exchange,
                symbol,
                intDiv(toUnixTimestamp64Micro(from_time), {{ seconds }}000000) * {{ seconds }} AS first,
                intDiv(toUnixTimestamp64Micro(to_time), {{ seconds }}000000) * {{ seconds }} AS last,
                intDiv(first, 86400) * 86400 + 86400 AS second_day,
                intDiv(last, 86400) * 86400 AS last_day
            FROM {{ gaps }}
            WHERE state != 'healed'
{%- endmacro -%}

{%- macro is_complete(seconds, gaps) -%}
toBool((candle.exchange, candle.symbol, toUnixTimestamp64Second(candle.window_start)) NOT IN (
            SELECT exchange, symbol, arrayJoin(arrayConcat(
                range(first, least(last + {{ seconds }}, second_day), {{ seconds }}), range(greatest(first, last_day), last + {{ seconds }}, {{ seconds }})))
            FROM ({{ gap_spans(seconds, gaps) }})
        )
        AND (candle.exchange, candle.symbol, intDiv(toUnixTimestamp64Second(candle.window_start), 86400) * 86400) NOT IN (
            SELECT exchange, symbol, arrayJoin(range(second_day, last_day, 86400))
            FROM ({{ gap_spans(seconds, gaps) }})
        ))
{%- endmacro -%}

{#- The query of a view of hot candles. `states`: a table of candle states to read instead of the hot one. -#}
{%- macro hot(db, frame, exact, states='') -%}
SELECT
    candle.exchange AS exchange,
    candle.symbol AS symbol,
    candle.window_start AS window_start,
    {{ shown('candle', exact, amounts) }}
    candle.trade_count AS trade_count,
    {{ shown('candle', exact, by_side) }}
    candle.updated_at AS updated_at,
    {{ is_closed(frame.seconds, db ~ '.gold_ohlcv_state') }} AS is_closed,
    {{ is_complete(frame.seconds, db ~ '.producer_gaps') }} AS is_complete
FROM
(
    {{ merged(db ~ '.' ~ (states or 'gold_ohlcv_state'), frame.seconds) }}
) AS candle
{%- endmacro -%}
