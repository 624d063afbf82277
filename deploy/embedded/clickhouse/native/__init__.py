"""ClickHouse's native protocol, revisions 54453 to 54464: https://clickhouse.com/docs/native-protocol.

May import `native_format` and before."""
