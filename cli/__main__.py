"""Runs the `medallion` command, also as `python -m cli`."""

from __future__ import annotations

import io
import os
import sys

from config.process import stopping


def main() -> None:
    """Run the command line. Ctrl-C is answered also while its modules are still loading, which may take seconds."""
    _open_closed_streams()
    _print_in_any_encoding()
    try:
        stopping.take_for_ctrl_c()
        from cli.main import main as run  # noqa: PLC0415 - here, so that Ctrl-C is caught

        run()
    except KeyboardInterrupt:
        sys.stderr.write(f"Stopped by {stopping.name()}.\n")
        sys.exit(stopping.exit_code())


def _print_in_any_encoding() -> None:
    """Print what the terminal's encoding (`LC_ALL`, `PYTHONIOENCODING`) lacks, such as `…`, as an escape."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _open_closed_streams() -> None:
    """Open what the caller has closed. Otherwise the next file gets its number, and what libraries print goes there."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is not None:
            continue
        nothing = os.open(os.devnull, os.O_RDWR)
        if nothing != number:
            os.dup2(nothing, number)
            os.close(nothing)
        setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


if __name__ == "__main__":
    main()
