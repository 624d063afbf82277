{{ select }}
-- A row group ends after this many bytes, however few its rows are. A sort on disk returns blocks of max_block_size rows.
SETTINGS output_format_parquet_row_group_size_bytes = {{ row_group_bytes }}, max_block_size = 16
