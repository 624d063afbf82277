-- Answers of a series with the given ids that came in a span. Their bytes are hexadecimal digits.
SELECT * REPLACE (hex(body) AS body)
FROM
(
{{ select }}
)
WHERE answer_id IN {ids:Array(String)}
