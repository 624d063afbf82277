"""Cold tables: the catalog, transactions, slices and their files."""
