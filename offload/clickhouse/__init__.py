"""The hot tier: client, SQL templates, checksums, and how ClickHouse reads the warehouse. May import `tables`."""
