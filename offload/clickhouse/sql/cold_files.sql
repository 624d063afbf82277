-- Rows of files that the current snapshot of a cold table names. The query fails if a file is missing.
{% import '_files.sql' as files %}
{{ files.rows(function, arguments, earlier_values) }}
