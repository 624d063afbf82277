"""The hot side: queries, SQL templates, checksums, where ClickHouse finds the warehouse. May import `tables`."""
