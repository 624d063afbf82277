-- How much of each day is stored of every series, also of those without periods; its providers, and the rejected rows.
{% import '_series.sql' as series_sql with context %}

{% macro rows_of_a_day(one) -%}
{% if one.frame %}
{{ ('if(exchange IN (' ~ (one.in_sessions | map('literal') | join(', ')) ~ ") AND frame != '1d', 0, ") if one.in_sessions else '' }}toUInt64(intDiv(86400, transform(frame, [{{ one.frames | map('literal') | join(', ') }}], [{{ one.frames.values() | join(', ') }}], 86400))){{ ')' if one.in_sessions else '' }}
{%- else %}
toUInt64({{ 86400 // one.row_interval if one.row_interval is number else 0 }})
{%- endif %}
{%- endmacro %}

{% macro place(one, text, of_day='') %}
        {{ one.name | literal }} AS series,
        {{ text.replace('NAME', 'exchange') if 'exchange' in one.key else "''" }} AS exchange,
        {{ text.replace('NAME', 'symbol') if 'symbol' in one.key else "''" }} AS symbol,
        {{ text.replace('NAME', one.frame) if one.frame else "''" }} AS frame,
        {{ of_day or rows_of_a_day(one) | trim }} AS of_day,
{% endmacro %}

CREATE OR REPLACE VIEW {{ db }}.series_days{{ on_cluster }}
(
    series String COMMENT 'name of the series: bars',
    exchange String COMMENT 'exchange-and-market code; empty: the series is of no market',
    symbol String COMMENT 'canonical symbol: BTCUSDT; empty: the series is of no market',
    frame String COMMENT 'length of the periods; empty: the rows are moments',
    day Date COMMENT 'UTC',
    periods UInt64 COMMENT 'rows of the day that are stored; of periods those that were over',
    expected UInt64 COMMENT 'periods or rows that a day has, as declared or as the rows around it show; 0: nobody knows, as where a market is closed at times',
    rejected UInt64 COMMENT 'rows of the day that broke a rule, as far as their market and time can be read',
    providers Array(String) COMMENT 'who sent the rows that are stored'
)
AS
SELECT
    series,
    exchange,
    symbol,
    frame,
    day,
    sum(is_stored) AS periods,
    max(of_day) AS expected,
    sum(is_rejected) AS rejected,
    arraySort(groupUniqArrayIf(sent_by, is_stored)) AS providers
FROM
(
{% for one in series %}
    SELECT
{{ place(one, 'toString(stored.NAME)') }}        toDate(stored.{{ one.time }}) AS day,
        true AS is_stored,
        false AS is_rejected,
        toString(stored.provider) AS sent_by
    FROM {{ db }}.{{ one.name }}_current AS stored FINAL
{% if one.frame %}
    WHERE stored.is_closed
{% endif %}
    UNION ALL
    SELECT series, exchange, symbol, frame, of_day, toDate(fromUnixTimestamp64Micro(micros, 'UTC')), false, true, ''
    FROM
    (
        SELECT
{{ place(one, "JSONExtractString(payload, 'NAME')") }}        JSONExtractString(payload, {{ one.time | literal }}) AS said,
        {{ sql.micros_of('said') }}
        FROM {{ db }}.series_dead_letters FINAL
        WHERE series_dead_letters.series = {{ one.name | literal }} AND place > 0
    )
    WHERE {{ sql.is_plausible('micros') }}{{ ' AND frame IN (' ~ (one.frames | map('literal') | join(', ')) ~ ')' if one.frame else '' }}
{% if one.row_interval == 'observed' %}
    UNION ALL
    SELECT
{{ place(one, 'toString(around.NAME)', 'around.of_day') }}        around.day AS day,
        false AS is_stored,
        false AS is_rejected,
        '' AS sent_by
    FROM
    (
{{ series_sql.observed(one, db ~ '.' ~ one.name ~ '_current') }}
    ) AS around
{% endif %}
    {{ '' if loop.last else 'UNION ALL' }}
{% endfor %}
)
GROUP BY series, exchange, symbol, frame, day
COMMENT 'How much of each day is stored of each series and market';
