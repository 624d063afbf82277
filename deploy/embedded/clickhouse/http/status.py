"""HTTP statuses of ClickHouse's error codes, and content types of its formats."""

from __future__ import annotations

# Source: `exceptionCodeToHTTPStatus` in ClickHouse's src/Server/HTTP.
_STATUS = {
    **dict.fromkeys((192, 193, 481, 497, 516), 403),
    **dict.fromkeys((6, 12, 26, 27, 36, 38, 40, 41, 43, 44, 53, 62, 69, 70, 72, 89, 117, 271, 427, 456, 457), 400),
    **dict.fromkeys((16, 46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 372), 404),
    48: 501,
    159: 408,
    164: 500,
    373: 500,
}
_INTERNAL_ERROR = 500

_CONTENT_TYPES = {
    "JSON": "application/json; charset=UTF-8",
    "JSONCompact": "application/json; charset=UTF-8",
    "JSONStrings": "application/json; charset=UTF-8",
    "JSONEachRow": "application/x-ndjson; charset=UTF-8",
    "JSONCompactEachRow": "application/x-ndjson; charset=UTF-8",
    "XML": "application/xml; charset=UTF-8",
    "CSV": "text/csv; charset=UTF-8; header=absent",
    "CSVWithNames": "text/csv; charset=UTF-8; header=present",
    "CSVWithNamesAndTypes": "text/csv; charset=UTF-8; header=present",
    "TSV": "text/tab-separated-values; charset=UTF-8",
    "TabSeparated": "text/tab-separated-values; charset=UTF-8",
    "TSVWithNames": "text/tab-separated-values; charset=UTF-8",
    "TabSeparatedWithNames": "text/tab-separated-values; charset=UTF-8",
}
_BINARY = frozenset(
    {
        "Arrow",
        "ArrowStream",
        "Avro",
        "BSONEachRow",
        "MsgPack",
        "Native",
        "ORC",
        "Parquet",
        "Protobuf",
        "RowBinary",
        "RowBinaryWithNames",
        "RowBinaryWithNamesAndTypes",
    }
)


def http_status(code: int) -> int:
    """The HTTP status that a server sends for an error code."""
    return _STATUS.get(code, _INTERNAL_ERROR)


def content_type(format_name: str) -> str:
    """The content type of a format."""
    if format_name in _BINARY:
        return "application/octet-stream"
    return _CONTENT_TYPES.get(format_name, "text/plain; charset=UTF-8")
