-- The open anomalies that a check of the span covers. It covers every stale series, whatever the span.
SELECT kind, series, exchange, symbol, frame, at, value, bound, detail
FROM quality_anomalies
WHERE is_open
  AND (kind = 'stale_series' OR at >= {start:DateTime64(6, 'UTC')} AND at < {end:DateTime64(6, 'UTC')})
