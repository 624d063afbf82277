"""ClickHouse's native protocol, revision 54453: https://clickhouse.com/docs/native-protocol."""
