"""`python -m silver_processor`: run the Silver worker until SIGTERM."""

from __future__ import annotations

import logging
import sys

import structlog

from config.settings import Settings
from silver_processor.worker import SilverWorker


def configure_logging(level: str) -> None:
    """JSON lines on standard error, also those of libraries."""
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer = structlog.processors.JSONRenderer(ensure_ascii=False)
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(logging.getLevelNamesMapping()[level], logging.WARNING))
    # Their news about a server that is away is in our own warnings, once.
    for chatty in ("urllib3", "clickhouse_connect"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)


def main() -> None:
    """Read the settings and the symbols file, then consume."""
    settings = Settings()
    configure_logging(settings.log_level)
    worker = SilverWorker(settings)
    worker.app.Worker(
        loglevel=None, quiet=True, redirect_stdouts=False, override_logging=False, blocking_timeout=60.0
    ).execute_from_commandline()


if __name__ == "__main__":
    main()
