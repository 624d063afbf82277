"""What one check of `medallion doctor` found, and the remedy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from confluent_kafka import KafkaException
from pyiceberg.exceptions import NoSuchTableError, RESTError
from sqlalchemy.exc import SQLAlchemyError

from config.errors import MedallionError

_LONGEST_REASON = 300
_TRACE = "Stack trace"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one check ended. `warn`: it works, but not well or not for long. `remedy`: what to do; "" if all is well."""

    name: str
    outcome: Literal["ok", "warn", "fail"]
    found: str
    remedy: str = ""


def attempt(name: str, remedy: str, look: Callable[[], Finding]) -> Finding:
    """The finding of `look`; a part that does not answer, or refuses, is a failure."""
    try:
        return look()
    # Errors of requests are OSErrors, too.
    except (MedallionError, KafkaException, RESTError, NoSuchTableError, SQLAlchemyError, OSError) as error:
        reason = " ".join(str(error).partition(_TRACE)[0].split())
        return Finding(name, "fail", reason[:_LONGEST_REASON] or type(error).__name__, remedy)
