-- These messages are no duplicates any more: one has become the trade, another a dead letter.
{% import '_macros.sql' as sql %}
ALTER TABLE duplicate_trades
DELETE WHERE concat(raw_topic, ' ', toString(raw_partition), ' ', toString(raw_offset), ' ',
                    toString({{ sql.bounded_ms('toUnixTimestamp64Milli(published_at)') }})) IN {places:Array(String)}
SETTINGS mutations_sync = 2
