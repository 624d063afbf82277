-- Empty a twin table.
TRUNCATE TABLE {{ table }}
