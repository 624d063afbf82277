"""What can go wrong with migrations; every message says what to do next."""

from __future__ import annotations

from config.errors import MedallionError


class MigrationError(MedallionError):
    """A migration file cannot be used as it is."""


class DriftError(MedallionError):
    """The server does not hold what the files and settings say, and mending it could lose rows.

    Args:
        findings: one sentence an object, each with its remedy.
    """

    def __init__(self, findings: list[str]) -> None:
        super().__init__("Nothing was changed. " + " ".join(findings))
        self.findings = findings
