"""Runs the `medallion` command, also as `python -m cli`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line. Ctrl-C is answered also while its modules are still loading, which may take seconds."""
    try:
        from cli.main import main as run  # noqa: PLC0415 - here, so that Ctrl-C is caught

        run()
    except KeyboardInterrupt:
        sys.stderr.write("Stopped by Ctrl-C.\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
