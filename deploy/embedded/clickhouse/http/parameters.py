"""The parameters of an HTTP request beside its SQL: account, database, settings, query parameters, session."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from deploy.embedded.clickhouse.errors import BAD_SIZE_OF_DATA, UNKNOWN_FORMAT, refusal

_PARAMETER_PREFIX = "param_"
# Parameters of the interface itself, and settings that concern only it: https://clickhouse.com/docs/interfaces/http.
_OWN = frozenset(
    {
        "add_http_cors_header",
        "buffer_size",
        "client_protocol_version",
        "close_session",
        "compress",
        "database",
        "decompress",
        "default_format",
        "enable_http_compression",
        "http_headers_progress_interval_ms",
        "password",
        "query",
        "query_id",
        "quota_key",
        "role",
        "send_progress_in_http_headers",
        "session_check",
        "session_id",
        "session_timeout",
        "stacktrace",
        "user",
        "wait_end_of_query",
    }
)
_MOST_PARAMETERS = 2_000
_TRUE = frozenset({"1", "true"})
_FORMAT_NAME = re.compile(r"[A-Za-z0-9_]+")
_DEFAULT_SESSION_TIMEOUT_S = 60
_MOST_DIGITS = 9
_MAX_SESSION_TIMEOUT_S = 3600


@dataclass(frozen=True)
class Parameters:
    """One request's parameters, defaults filled in.

    Attributes:
        is_compressed: the body is in ClickHouse's own compressed frames.
        wants_frames: the answer has to be in such frames.
        revision: the protocol revision of Native blocks in the answer; 0 for blocks as in a file.
    """

    user: str
    password: str = field(repr=False)
    database: str
    query: str
    query_id: str
    is_query_id_given: bool
    default_format: str
    session_id: str
    session_timeout_s: float
    is_compressed: bool
    wants_frames: bool
    revision: int
    settings: dict[str, str]
    params: dict[str, str]


def read_parameters(query: Mapping[str, str], headers: Mapping[str, str]) -> Parameters:
    """Read parameters from the URL and the headers.

    Raises:
        EngineError: 12 for too many parameters, 73 for a default format whose name has other characters than letters,
            digits and _.
    """
    if len(query) > _MOST_PARAMETERS:
        raise refusal(BAD_SIZE_OF_DATA, "BAD_SIZE_OF_DATA", f"More than {_MOST_PARAMETERS} parameters in one request")
    default_format = query.get("default_format") or headers.get("X-ClickHouse-Format", "") or "TabSeparated"
    if not _FORMAT_NAME.fullmatch(default_format):
        raise refusal(UNKNOWN_FORMAT, "UNKNOWN_FORMAT", f"Unknown format {default_format[:50]!r}")
    user, password = _account(query, headers)
    asked = _number(query.get("session_timeout", ""))
    timeout_s = _DEFAULT_SESSION_TIMEOUT_S if asked is None else min(asked, _MAX_SESSION_TIMEOUT_S)
    return Parameters(
        user=user,
        password=password,
        database=query.get("database") or headers.get("X-ClickHouse-Database", ""),
        query=query.get("query", ""),
        query_id=query.get("query_id") or str(uuid.uuid4()),
        is_query_id_given=bool(query.get("query_id")),
        default_format=default_format,
        session_id=query.get("session_id", ""),
        session_timeout_s=timeout_s,
        is_compressed=query.get("decompress", "0") in _TRUE,
        wants_frames=query.get("compress", "0") in _TRUE,
        revision=_number(query.get("client_protocol_version", "")) or 0,
        settings={n: v for n, v in query.items() if n not in _OWN and not n.startswith(_PARAMETER_PREFIX)},
        params={n.removeprefix(_PARAMETER_PREFIX): v for n, v in query.items() if n.startswith(_PARAMETER_PREFIX)},
    )


def _number(text: str) -> int | None:
    """A number of at most nine digits; None for any other text."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def _account(query: Mapping[str, str], headers: Mapping[str, str]) -> tuple[str, str]:
    if "X-ClickHouse-User" in headers or "X-ClickHouse-Key" in headers:
        return headers.get("X-ClickHouse-User", "default"), headers.get("X-ClickHouse-Key", "")
    scheme, _, encoded = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "basic":
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return "", ""
        return user, password
    return query.get("user", "default"), query.get("password", "")
