-- Answers of a series by their ids, among those that came in a span, with the bytes of each as hexadecimal digits.
SELECT * REPLACE (hex(body) AS body)
FROM
(
{{ select }}
)
WHERE answer_id IN {ids:Array(String)}
