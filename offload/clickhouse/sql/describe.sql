-- Column types of a hot SELECT. Cold files are read with the same types.
DESCRIBE
(
{{ select }}
)
