-- Candle states of some exchanges and a day: what comes into the table meanwhile is of other days.
ALTER TABLE {{ table }}
DELETE WHERE exchange IN ({% for key in cover.keys %}{{ key | literal }}{{ ', ' if not loop.last }}{% endfor %})
  AND window_start >= toDateTime({{ cover.from_us // 1000000 }}, 'UTC')
  AND window_start < toDateTime({{ cover.to_us // 1000000 }}, 'UTC')
SETTINGS mutations_sync = 2
