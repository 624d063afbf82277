"""Says what to do about an error of ClickHouse. The caller, the operator or whoever manages accounts can do it."""

from __future__ import annotations

import re

# By code, the name that ClickHouse has for it (src/Common/ErrorCodes.cpp).
CREDENTIALS = {192: "UNKNOWN_USER", 193: "WRONG_PASSWORD", 194: "REQUIRED_PASSWORD", 516: "AUTHENTICATION_FAILED"}
RIGHTS = {
    164: "READONLY",
    195: "IP_ADDRESS_NOT_ALLOWED",
    291: "DATABASE_ACCESS_DENIED",
    392: "QUERY_IS_PROHIBITED",
    481: "PATH_ACCESS_DENIED",
    497: "ACCESS_DENIED",
}
LIMITS = {
    158: "TOO_MANY_ROWS",
    159: "TIMEOUT_EXCEEDED",
    160: "TOO_SLOW",
    161: "TOO_MANY_COLUMNS",
    191: "SET_SIZE_LIMIT_EXCEEDED",
    201: "QUOTA_EXCEEDED",
    202: "TOO_MANY_SIMULTANEOUS_QUERIES",
    241: "MEMORY_LIMIT_EXCEEDED",
    290: "LIMIT_EXCEEDED",
    307: "TOO_MANY_BYTES",
    396: "TOO_MANY_ROWS_OR_BYTES",
}
OF_THE_SERVER = {
    49: "LOGICAL_ERROR",
    173: "CANNOT_ALLOCATE_MEMORY",
    209: "SOCKET_TIMEOUT",
    210: "NETWORK_ERROR",
    225: "NO_ZOOKEEPER",
    236: "ABORTED",
    242: "TABLE_IS_READ_ONLY",
    243: "NOT_ENOUGH_SPACE",
    252: "TOO_MANY_PARTS",
    279: "ALL_CONNECTION_TRIES_FAILED",
    425: "SYSTEM_ERROR",
    499: "S3_ERROR",
    999: "KEEPER_EXCEPTION",
    1000: "POCO_EXCEPTION",
    1001: "STD_EXCEPTION",
    1002: "UNKNOWN_EXCEPTION",
}
_REMEDIES = (
    (CREDENTIALS, "Set MEDALLION_CLICKHOUSE_USER and MEDALLION_CLICKHOUSE_PASSWORD to an account of this server."),
    (RIGHTS, "This account may not do that: ask the operator for the right, or use another account."),
    (LIMITS, "Ask for less (fewer days, markets or columns), or later; the operator can raise the limit."),
    (OF_THE_SERVER, "The statement is not at fault: the operator looks at `medallion doctor` and the server's log."),
)
_CODE = re.compile(r"\bCode: (\d+)\.\s+DB::")


def code_of(answer: str) -> int | None:
    """The code in ClickHouse's message; None if the text is no message of ClickHouse."""
    found = _CODE.search(answer)
    return int(found[1]) if found else None


def remedy(code: int | None, otherwise: str) -> str:
    """Who does what about an error with this code; `otherwise` for one that lies in the statement or has no code."""
    return next((words for codes, words in _REMEDIES if code in codes), otherwise)
