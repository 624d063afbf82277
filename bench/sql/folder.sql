-- Where a table keeps its parts.
SELECT data_paths FROM system.tables WHERE database = currentDatabase() AND name = %(table)s
