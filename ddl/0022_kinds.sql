-- The kind of a trade and the number of matches it sums up, from Raw to Silver. Older rows are market trades of one
-- match, as they were counted. Each table's `_leaving` and `_staged` tables follow it: a partition can only be moved or
-- replaced between tables of one structure.
{% macro texts(names) %}
{% for name in names %}
ALTER TABLE {{ db }}.{{ name }}{{ on_cluster }}
    ADD COLUMN IF NOT EXISTS kind {{ caller() }} COMMENT 'a kind of trade, empty: market' AFTER sequence,
    ADD COLUMN IF NOT EXISTS matches String COMMENT 'how many matches the message sums up, empty: one' CODEC(ZSTD(1)) AFTER kind;
{% endfor %}
{% endmacro %}
{% call texts(['trades_raw', 'trades_raw_leaving']) %}String{% endcall %}

{% call texts(['dlq_trades_log', 'dlq_trades_log_leaving']) %}LowCardinality(String){% endcall %}

-- Two rows that differ in kind or matches only are two versions of a trade, and must not merge.
{% for name in ('bronze_trades', 'bronze_trades_leaving', 'bronze_trades_staged') %}
ALTER TABLE {{ db }}.{{ name }}{{ on_cluster }}
    ADD COLUMN IF NOT EXISTS kind LowCardinality(String) COMMENT 'a kind of trade, empty: market' AFTER sequence,
    ADD COLUMN IF NOT EXISTS matches String COMMENT 'how many matches the message sums up, empty: one' AFTER kind,
    MODIFY ORDER BY (
        exchange, symbol, trade_id,
        if(defect = '' AND trade_id != '',
           concat(price_text, ' ', quantity_text, ' ', timestamp_raw, ' ', side, ' ', sequence),
           concat(raw_topic, ' ', toString(raw_partition), ' ', toString(raw_offset), ' ', toString(published_at))),
        kind, matches);
{% endfor %}

{% for name in ('silver_trades', 'silver_trades_leaving', 'silver_trades_staged') %}
ALTER TABLE {{ db }}.{{ name }}{{ on_cluster }}
    ADD COLUMN IF NOT EXISTS trade_kind LowCardinality(String) DEFAULT 'market' COMMENT 'see docs/kinds.md: candles count some' AFTER sequence,
    ADD COLUMN IF NOT EXISTS match_count UInt32 DEFAULT 1 COMMENT 'the row stands for so many matches; a numeric trade_id is that of the last' CODEC(T64, ZSTD(1)) AFTER trade_kind;
{% endfor %}
