-- Delete messages that are no longer duplicates, since they have become the trade or dead letters.
{% import '_macros.sql' as sql %}
ALTER TABLE duplicate_trades
DELETE WHERE concat(raw_topic, ' ', toString(raw_partition), ' ', toString(raw_offset), ' ',
                    toString({{ sql.bounded_ms('toUnixTimestamp64Milli(published_at)') }})) IN {messages:Array(String)}
SETTINGS mutations_sync = 2
