"""The chDB engine in this process: its configuration, its connections, what passes in and out. Imports `sql`."""
