"""`python -m silver_processor`: run the Silver worker until SIGTERM."""

from __future__ import annotations

from config.process.allocators import return_soon
from config.process.garbage import collect_rarely
from config.process.optional_imports import PANDAS, RICH, do_without
from config.settings import Settings


def main() -> None:
    """Read the settings and the symbols file, then consume."""
    do_without(PANDAS, RICH)
    return_soon()
    from config.process import logs  # noqa: PLC0415 - it imports structlog
    from silver_processor.worker import build_worker  # noqa: PLC0415 - it imports PyArrow

    settings = Settings()
    logs.configure(settings.log_level, "silver-processor")
    worker = build_worker(settings)
    collect_rarely()
    worker.run()


if __name__ == "__main__":
    main()
