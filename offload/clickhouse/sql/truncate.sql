-- Remove all rows of a staging table.
TRUNCATE TABLE {{ table }}
