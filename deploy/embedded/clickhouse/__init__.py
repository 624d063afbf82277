"""The embedded ClickHouse node: the chDB engine behind ClickHouse's two standard interfaces.

The rooms, in order: `sql`; `engine`; `native_format`; `http`, `kafka`, `native`; then the node and its process. A room
may import those before it, and `config`, `ddl` and the flow control of `producers.kafka`."""
