"""Bronze batches to Silver rows, duplicates and dead letters."""
