"""Errors of the migrations. Every message says what to do next."""

from __future__ import annotations

from config.errors import MedallionError


class MigrationError(MedallionError):
    """A migration file or a setting in it cannot be used."""


class DriftError(MedallionError):
    """The server differs from the files and settings, and a change by the runner could lose rows.

    Args:
        findings: one sentence for each object, with its remedy.
    """

    def __init__(self, findings: list[str]) -> None:
        super().__init__("Nothing was changed. " + " ".join(findings))
        self.findings = findings
