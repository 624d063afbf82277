-- The tables and views of each series that a file of series/declared declares. An answer is inserted once, into landing.
-- Materialized views give its rows types, and keep every version and the newest one.
{% import '_series.sql' as series_sql with context %}

CREATE TABLE IF NOT EXISTS {{ db }}.series_dead_letters{{ on_cluster }}
(
    series LowCardinality(String) COMMENT 'name of the series: bars',
    reason LowCardinality(String) COMMENT 'code of the broken rule, see docs/series.md',
    field LowCardinality(String) COMMENT 'the field that breaks it; row or answer: none could be read',
    value String COMMENT 'what the field has, as text' CODEC(ZSTD(1)),
    provider LowCardinality(String) COMMENT 'who said so',
    request String COMMENT 'what was asked' CODEC(ZSTD(1)),
    answer_id String COMMENT 'the answer it is from: see the landing table of the series' CODEC(ZSTD(1)),
    place UInt32 COMMENT 'its place among the rows of the answer, from 1; 0: the answer as a whole' CODEC(T64, ZSTD(1)),
    received_at DateTime64(6, 'UTC') COMMENT 'when the answer came' CODEC(Delta, ZSTD(1)),
    payload String COMMENT 'the row, or the first 64 KiB of the answer' CODEC(ZSTD(1))
)
ENGINE = {{ sql.merge_tree('Replacing', 'received_at') }}
PARTITION BY toYYYYMM(received_at)
ORDER BY (series, answer_id, place)
SETTINGS {{ sql.remember_inserts() }}
COMMENT 'What providers sent and no series could take, with the reason; one row a row of an answer';
{% for one in series %}

CREATE TABLE IF NOT EXISTS {{ db }}.{{ one.landing }}{{ on_cluster }}
(
    answer_id String COMMENT 'names the answer in every layer' CODEC(ZSTD(1)),
    provider LowCardinality(String) COMMENT 'who was asked',
    request String COMMENT 'what was asked: an address, or lines of a file' CODEC(ZSTD(1)),
    received_at DateTime64(6, 'UTC') COMMENT 'when the answer came' CODEC(Delta, ZSTD(1)),
    body String COMMENT 'the answer as it came; through ccxt without blanks around it' CODEC(ZSTD(3)),
    defect LowCardinality(String) COMMENT 'why no row could be read; empty: they could',
    rows Array(Tuple({% for name in one.fields %}{{ name }} String, {% endfor %}unreadable String)) COMMENT 'the fields of each row as texts; unreadable: a row that has none of them, as it came' CODEC(ZSTD(3))
)
ENGINE = {{ sql.merge_tree() }}
PARTITION BY toYYYYMM(received_at)
ORDER BY (provider, received_at, answer_id)
SETTINGS {{ sql.remember_inserts() }}
COMMENT {{ ('Answers of providers as they came: ' ~ one.about) | literal }};

CREATE TABLE IF NOT EXISTS {{ db }}.{{ one.name }}_staging{{ on_cluster }}
(
{{ series_sql.columns(one) }}
)
ENGINE = {{ sql.merge_tree() }}
PARTITION BY toYYYYMMDD(received_at)
ORDER BY ({{ one.key | join(', ') }}, received_at)
SETTINGS {{ sql.remember_inserts() }}
COMMENT 'Rows that passed every rule, in the order in which they came';

CREATE TABLE IF NOT EXISTS {{ db }}.{{ one.name }}_snapshots{{ on_cluster }}
(
{{ series_sql.columns(one) }}
)
ENGINE = {{ sql.merge_tree('Replacing') }}
PARTITION BY toYYYYMM({{ one.time }})
ORDER BY ({{ one.key | join(', ') }}, received_at, answer_id, place)
SETTINGS {{ sql.remember_inserts() }}
COMMENT {{ ('Every version of every row: ' ~ one.about) | literal }};

CREATE TABLE IF NOT EXISTS {{ db }}.{{ one.name }}_current{{ on_cluster }}
(
{{ series_sql.columns(one) }}
)
ENGINE = {{ sql.merge_tree('Replacing', 'received_at') }}
PARTITION BY toYYYYMM({{ one.time }})
ORDER BY ({{ one.key | join(', ') }})
SETTINGS {{ sql.remember_inserts() }}
COMMENT 'Storage of {{ one.name }}, which shows the newest version of each row';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.{{ one.name }}_snapshots_mv{{ on_cluster }} TO {{ db }}.{{ one.name }}_snapshots
AS
SELECT {{ series_sql.names(one) }}
FROM {{ db }}.{{ one.name }}_staging;

CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.{{ one.name }}_current_mv{{ on_cluster }} TO {{ db }}.{{ one.name }}_current
AS
SELECT {{ series_sql.names(one) }}
FROM {{ db }}.{{ one.name }}_staging;

CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.{{ one.name }}_staging_mv{{ on_cluster }} TO {{ db }}.{{ one.name }}_staging
AS
SELECT
{% for column in one.columns %}
    {{ "if(row.%s = '', NULL, %s_value)" % (column.name, column.name) if column.is_optional else column.name ~ '_value' }} AS {{ column.name }},
{% endfor %}
{% if one.frame %}
    toBool(is_closed) AS is_closed,
{% endif %}
    provider,
    answer_id,
    place,
    received_at
FROM
(
{{ series_sql.validated(one, db ~ '.' ~ one.landing) }}
)
WHERE verdict.1 = '';

CREATE MATERIALIZED VIEW IF NOT EXISTS {{ db }}.{{ one.name }}_dead_letters_mv{{ on_cluster }} TO {{ db }}.series_dead_letters
AS
SELECT
    {{ one.name | literal }} AS series,
    verdict.1 AS reason,
    verdict.2 AS field,
    verdict.3 AS value,
    provider,
    request,
    answer_id,
    place,
    received_at,
    multiIf(place = 0, substring(body, 1, 65536), row.unreadable != '', row.unreadable, toJSONString(row)) AS payload
FROM
(
{{ series_sql.validated(one, db ~ '.' ~ one.landing) }}
)
WHERE verdict.1 != '';
{% for exact in ([true, false] if one.has_decimals else [false]) %}

CREATE OR REPLACE VIEW {{ db }}.{{ one.name }}{{ '_exact' if exact else '' }}{{ on_cluster }}
(
{{ series_sql.shown_columns(one, exact) }}
)
AS
SELECT
{{ series_sql.shown(one, exact) }}
FROM {{ db }}.{{ one.name }}_current AS stored FINAL
COMMENT {{ ('The newest version of each row' ~ (', exact decimals: ' if exact else ': ') ~ one.about) | literal }};
{% endfor %}
{% endfor %}

{% macro texts(one) %}
    {{ one.name | literal }} AS series,
    {{ 'stored.exchange' if 'exchange' in one.key else "''" }} AS exchange,
    {{ 'stored.symbol' if 'symbol' in one.key else "''" }} AS symbol,
    {{ 'stored.' ~ one.frame if one.frame else "''" }} AS frame,
{% endmacro %}

-- What is stored of each market, and the time from which the next run continues.
CREATE OR REPLACE VIEW {{ db }}.series_stored{{ on_cluster }}
(
    series String COMMENT 'name of the series: bars',
    exchange String COMMENT 'exchange-and-market code; empty: the series is of no market',
    symbol String COMMENT 'canonical symbol: BTCUSDT; empty: the series is of no market',
    frame String COMMENT 'length of the periods; empty: the rows are moments',
    row_count UInt64 COMMENT 'rows, each key once',
    oldest_time DateTime64(6, 'UTC') COMMENT 'time of the oldest row',
    newest_time DateTime64(6, 'UTC') COMMENT 'time of the newest row, of periods the newest that was over; 1970: none was',
    received_at DateTime64(6, 'UTC') COMMENT 'when the newest answer came'
)
AS
{% for one in series %}
SELECT
{{ texts(one) }}    count() AS row_count,
    min(stored.{{ one.time }}) AS oldest_time,
    {{ 'maxIf(stored.%s, stored.is_closed)' % one.time if one.frame else 'max(stored.%s)' % one.time }} AS newest_time,
    max(stored.received_at) AS received_at
FROM {{ db }}.{{ one.name }}_current AS stored FINAL
GROUP BY series, exchange, symbol, frame
{{ '' if loop.last else 'UNION ALL' }}
{% endfor %}
COMMENT 'What is stored of each series and market';

-- How much of each day is stored, for series with periods.
CREATE OR REPLACE VIEW {{ db }}.series_days{{ on_cluster }}
(
    series String COMMENT 'name of the series: bars',
    exchange String COMMENT 'exchange-and-market code',
    symbol String COMMENT 'canonical symbol: BTCUSDT',
    frame String COMMENT 'length of the periods',
    day Date COMMENT 'UTC',
    periods UInt64 COMMENT 'periods of the day that are stored and were over',
    expected UInt64 COMMENT 'periods that a day has'
)
AS
{% for one in series if one.frame %}
SELECT
{{ texts(one) }}    toDate(stored.{{ one.time }}) AS day,
    count() AS periods,
    intDiv(86400, transform(frame, [{% for code in one.frames %}{{ code | literal }}{{ '' if loop.last else ', ' }}{% endfor %}], [{{ one.frames.values() | join(', ') }}], 86400)) AS expected
FROM {{ db }}.{{ one.name }}_current AS stored FINAL
WHERE stored.is_closed
GROUP BY series, exchange, symbol, frame, day
{{ '' if loop.last else 'UNION ALL' }}
{% endfor %}
COMMENT 'How many periods of each day are stored, of those that a day has';
