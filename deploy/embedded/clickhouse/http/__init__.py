"""The HTTP interface of ClickHouse: https://clickhouse.com/docs/interfaces/http.

May import `native_format` and before.
"""
