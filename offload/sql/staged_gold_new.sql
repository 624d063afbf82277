-- Candle states of one exchange and day by the very query of the live view, over the staged Silver rows.
INSERT INTO {{ table }}_staged
SELECT *
FROM
(
{{ view_query }}
)
WHERE exchange = {key:String}
SETTINGS insert_deduplicate = 0
