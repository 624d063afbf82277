-- A view on the pinned version of a cold table: exactly the files of its snapshot.
{% import '_files.sql' as files %}
CREATE OR REPLACE VIEW {{ database }}.{{ table }}
DEFINER = CURRENT_USER SQL SECURITY DEFINER
AS
{% for arguments in sources %}
{{ 'UNION ALL' if not loop.first }}
{{ files.rows(function, arguments, earlier_values) }}
{% endfor %}
