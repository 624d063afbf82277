-- The same by the very query of the live view.
INSERT INTO {{ table }} ({{ columns | join(', ') }})
SELECT {{ columns | join(', ') }}
FROM
(
{{ live }}
)
SETTINGS insert_deduplicate = 0
