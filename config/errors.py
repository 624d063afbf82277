"""The base of the failures a user can do something about."""

from __future__ import annotations


class MedallionError(Exception):
    """An expected failure. Its message says what happened and what to do next; the command line prints just that."""
