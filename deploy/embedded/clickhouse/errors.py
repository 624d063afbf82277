"""The node's errors, each with the code that a ClickHouse server gives it."""

from __future__ import annotations

import re

BAD_SIZE_OF_DATA = 12
SYNTAX_ERROR = 62
UNKNOWN_TYPE = 50
NOT_IMPLEMENTED = 48
UNEXPECTED_PACKET = 101
UNKNOWN_TABLE = 60
UNKNOWN_FORMAT = 73
UNKNOWN_DATABASE = 81
BAD_ARGUMENTS = 36
UNKNOWN_SETTING = 115
READONLY = 164
ACCESS_DENIED = 497
PATH_ACCESS_DENIED = 481
SESSION_IS_LOCKED = 373
QUERY_IS_PROHIBITED = 392
QUERY_WAS_CANCELLED = 394
AUTHENTICATION_FAILED = 516
UNCODED = 1001  # an exception that is not ClickHouse's own (STD_EXCEPTION)

_CODED = re.compile(r"Code: (\d+)\. (DB::\w*Exception: .*)", re.DOTALL)
# The pipe from which the node makes the engine read an insert's rows. It means nothing to a client.
_PIPE = re.compile(r": \(in file/uri /proc/self/fd/\d+\)")


class NodeStartError(Exception):
    """The node cannot start. The message says what to do."""


class EngineError(Exception):
    """A statement failed: ClickHouse's error `code` and its `message` (`DB::Exception: …`)."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"Code: {code}. {message}")
        self.code = code
        self.message = message

    @property
    def text(self) -> str:
        """The error as a server prints it over HTTP."""
        return f"Code: {self.code}. {self.message}"


def engine_error(error: BaseException) -> EngineError:
    """Take code and message from chDB's error: `[…: ]Code: 60. DB::Exception: … (UNKNOWN_TABLE)`."""
    text = str(error)
    # chDB's error about text that is not UTF-8 is a UnicodeError; with Python 3.11.2 it is one without a message.
    if isinstance(error, UnicodeError | TypeError) or not text:
        return refusal(
            SYNTAX_ERROR, "SYNTAX_ERROR", "Syntax error: the statement, a setting or a parameter is not UTF-8"
        )
    found = _CODED.search(text)
    if found is None:
        return EngineError(UNCODED, f"DB::Exception: {text}")
    return EngineError(int(found[1]), _PIPE.sub("", found[2]).strip())


def refusal(code: int, name: str, reason: str) -> EngineError:
    """An error of the node itself, in the form of the engine's errors."""
    return EngineError(code, f"DB::Exception: {reason} ({name})")
