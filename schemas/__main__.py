"""`python -m schemas` writes the derived files (`schemas/*.avsc`, `docs/reasons.md`, `docs/kinds.md`)."""

from __future__ import annotations

from schemas.derived import derived_files


def main() -> None:
    """Write all derived files."""
    for path, text in derived_files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
