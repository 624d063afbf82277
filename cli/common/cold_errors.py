"""Says in a sentence what is wrong where a file, the Iceberg catalog or the bucket fails under a command."""

from __future__ import annotations

import traceback

import requests
from pyarrow import ArrowException
from pydantic import ValidationError
from pyiceberg.exceptions import NoSuchTableError, RESTError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

_LONGEST_REASON = 500
# A server's answer may go on with this.
_TRACE = "Stack trace"
_REMEDY = "`medallion doctor` checks disks, catalog and bucket; then run the same command again"


def explain_store(error: Exception) -> str:
    """What is said of a failure of a file, the catalog or the bucket; "" for any other failure."""
    if isinstance(error, RESTError | NoSuchTableError | SQLAlchemyError) or _is_strange_answer(error):
        # The text of SQLAlchemy has the statement, too.
        return _said("The Iceberg catalog refuses, or answers what no catalog does", _reason(error))
    if isinstance(error, requests.RequestException):
        return _said("A server does not answer", error)
    if isinstance(error, ArrowException):
        return _said("A file of the warehouse cannot be read", error)
    if isinstance(error, OSError) and error.filename is not None:
        return _said(str(error.filename), error.strerror or error)
    if isinstance(error, OSError):
        return _said("A file or a bucket cannot be read or written", error)
    return ""


def _is_strange_answer(error: Exception) -> bool:
    """Whether pyiceberg cannot read what a catalog answered. Models of our own fail by our own mistakes."""
    if not isinstance(error, ValidationError):
        return False
    names = [frame.f_globals.get("__name__", "") for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(name.partition(".")[0] == "pyiceberg" for name in names)


def _reason(error: Exception) -> object:
    if isinstance(error, ValidationError):
        return error.errors()[0]["msg"]
    return error.orig if isinstance(error, DBAPIError) else error


def _said(what: str, reason: object) -> str:
    words = " ".join(str(reason).partition(_TRACE)[0].split()) or type(reason).__name__
    return f"{what}: {words[:_LONGEST_REASON]}. {_REMEDY}."
