-- Delete the confirmations of messages that have left Silver again.
{% import '_macros.sql' as sql %}
ALTER TABLE dlq_replays
DELETE WHERE is_confirmed = 1
  AND concat(raw_topic, ' ', toString(raw_partition), ' ', toString(raw_offset), ' ',
             toString({{ sql.bounded_ms('toUnixTimestamp64Milli(published_at)') }})) IN {messages:Array(String)}
SETTINGS mutations_sync = 2
