"""The HTTP interface of ClickHouse: https://clickhouse.com/docs/interfaces/http."""
