{{ select }}
-- However few rows have so many bytes. A sort on disk gives blocks of so many rows back.
SETTINGS output_format_parquet_row_group_size_bytes = {{ row_group_bytes }}, max_block_size = 16
