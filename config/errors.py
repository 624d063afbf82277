"""The base class of failures that a user can fix."""

from __future__ import annotations


class MedallionError(Exception):
    """An expected failure. Its message says what happened and what to do next. The command line prints only that."""
