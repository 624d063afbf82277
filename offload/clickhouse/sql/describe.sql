-- Column types of a hot SELECT: the types that cold files are read with.
DESCRIBE
(
{{ select }}
)
