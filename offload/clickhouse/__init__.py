"""The hot tier: client, SQL templates, checksums, and where ClickHouse reads the warehouse. May import `tables`."""
