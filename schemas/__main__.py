"""`python -m schemas`: write the derived files (`schemas/*.avsc`, `docs/reasons.md`)."""

from __future__ import annotations

from schemas.derived import derived_files


def main() -> None:
    """Write every derived file."""
    for path, text in derived_files().items():
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
