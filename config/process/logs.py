"""Logs of every service: one JSON object a line on standard error, or readable text if that is a terminal.

Lines of libraries (Faust, aiokafka, pyiceberg, APScheduler, librdkafka) have the same form, from WARNING on. Every line
has `timestamp` (ISO 8601, UTC), `level`, `event`, `logger` and `service`, and where they apply `exchange`, `symbol`,
`topic`, `partition` and `offset`.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from types import TracebackType
from typing import Any

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from config.visible import visible, visible_json

# Loggers of our own code, whose INFO and DEBUG lines are shown. `__main__` is a service's own module.
_OURS = ("__main__", "cli", "config", "ddl", "deploy", "offload", "producers", "series", "serving", "silver_processor")
# Our own warnings report an absent server, once. These loggers would repeat it.
_CHATTY = ("urllib3", "clickhouse_connect")


def configure(level: str, service: str) -> None:
    """Send all log lines of this process (`service`) to standard error; our own from `level` on.

    Uncaught exceptions in any thread and Python's warnings become log lines, too.
    """
    threshold = logging.getLevelNamesMapping()[level]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(service),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_rendering()],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(threshold, logging.WARNING), force=True)
    for name in _OURS:
        logging.getLogger(name).setLevel(threshold)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


def _rendering() -> list[Processor]:
    """The last processors. In a terminal, strangers' text cannot steer it: control characters are shown as escapes."""
    if sys.stderr.isatty():
        return [structlog.processors.format_exc_info, _make_visible, structlog.dev.ConsoleRenderer()]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(_visible_json)]


def _visible_json(event: EventDict, **options: Any) -> str:
    return visible_json(json.dumps(event, ensure_ascii=False, **options | {"default": str}))


def _make_visible(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: visible(value) if isinstance(value, str) else value for name, value in event.items()}


def _named(service: str) -> Processor:
    def add(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return add


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    logging.getLogger("__main__").critical("ended by an exception", exc_info=(kind, error, trace))


def _uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None and not issubclass(given.exc_type, SystemExit):
        logging.getLogger("__main__").critical(
            "thread ended by an exception", exc_info=(given.exc_type, given.exc_value, given.exc_traceback)
        )
