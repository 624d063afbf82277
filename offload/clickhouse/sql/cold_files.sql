-- The files of one slice as the current snapshot of the cold table names them; a server that lacks one of them fails.
{% import '_files.sql' as files %}
{{ files.rows(function, arguments, meant) }}
