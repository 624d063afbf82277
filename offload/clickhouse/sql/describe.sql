-- Column types of a hot SELECT: what the cold files are to be read as.
DESCRIBE
(
{{ select }}
)
