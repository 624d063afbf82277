"""The bytes of ClickHouse's native protocol: packets, blocks, compressed frames. No socket, no session.

May import `engine` and `sql`."""
