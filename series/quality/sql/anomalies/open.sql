-- What is open of what a check of a span looks at. A stale series is looked at whatever the span.
SELECT kind, series, exchange, symbol, frame, at, value, bound, detail
FROM quality_anomalies
WHERE is_open
  AND (kind = 'stale_series' OR at >= {start:DateTime64(6, 'UTC')} AND at < {end:DateTime64(6, 'UTC')})
