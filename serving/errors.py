"""The errors of requests, with Binance's codes and messages.

Source of codes and messages: https://developers.binance.com/docs/binance-spot-api-docs/errors.
"""

from __future__ import annotations

from config.errors import MedallionError


class ServingError(MedallionError):
    """The service cannot start with these settings; the message says what to change."""


class ApiError(MedallionError):
    """A request that is refused: `{"code": code, "msg": message}` with an HTTP status.

    `reason` says the same to a person at a shell, without Binance's words; it is the message where none is given.
    """

    def __init__(self, code: int, message: str, status: int = 400, reason: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.status = status
        self.reason = reason or message


def missing(name: str) -> ApiError:
    """A required parameter is missing."""
    return ApiError(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def empty(name: str) -> ApiError:
    """A parameter has no value."""
    return ApiError(-1105, f"Parameter '{name}' was empty.")


def repeated() -> ApiError:
    """A parameter is given twice."""
    return ApiError(-1101, "Duplicate values for a parameter detected.")


def unread(read: int, sent: int) -> ApiError:
    """The endpoint does not know some parameters."""
    return ApiError(-1104, f"Not all sent parameters were read; read '{read}' parameter(s) but was sent '{sent}'.")


def illegal(name: str, legal: str) -> ApiError:
    """A value has illegal characters."""
    return ApiError(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def invalid(name: str) -> ApiError:
    """A value is out of range."""
    return ApiError(-1130, f"Data sent for parameter '{name}' is not valid.")


def contradictory() -> ApiError:
    """Parameters exclude each other."""
    return ApiError(-1128, "Combination of optional parameters invalid.")


def invalid_interval() -> ApiError:
    """Binance has no such interval."""
    return ApiError(-1120, "Invalid interval.")


def invalid_symbol() -> ApiError:
    """The exchange has no such market."""
    return ApiError(-1121, "Invalid symbol.")


def invalid_time_unit() -> ApiError:
    """The header `X-MBX-TIME-UNIT`, or `timeUnit` of a WebSocket, names no unit of ours."""
    return ApiError(-1194, "Invalid value for time unit; expected either MICROSECOND or MILLISECOND.")


def not_found() -> ApiError:
    """There is no such path."""
    return ApiError(-1020, "This operation is not supported.", 404)


def unauthorised() -> ApiError:
    """The request has no token, or a wrong one."""
    return ApiError(-2015, "Invalid API-key, IP, or permissions for action.", 401)


def forbidden() -> ApiError:
    """The request comes from a page of another site."""
    return ApiError(-1002, "You are not authorized to execute this request.", 403)


def unavailable() -> ApiError:
    """ClickHouse does not answer, or refuses."""
    reason = "ClickHouse does not answer, or refuses the query: `medallion status` shows whether it runs."
    return ApiError(-1001, "Internal error; unable to process your request. Please try again.", 503, reason)


def no_room() -> ApiError:
    """The answer does not fit in the service's temporary folder."""
    reason = "The temporary folder is full: ask for less, or set TMPDIR to a folder with more room."
    return ApiError(-1001, "The service's temporary folder is full: ask for less, or give it more room.", 503, reason)


def timed_out() -> ApiError:
    """ClickHouse took too long."""
    reason = "ClickHouse takes too long: ask for less."
    return ApiError(-1007, "Timeout waiting for response from backend server. Ask for less.", 504, reason)
