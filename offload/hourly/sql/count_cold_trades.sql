-- Trades in files of cold Silver, as candles count them.
{% import '_counting.sql' as counting %}
SELECT {{ counting.trades('cold') }} AS trades
FROM
(
{{ source }}
) AS cold
WHERE {{ counting.is_counted('cold') }}
