"""Errors of the series. Every message says what to do next."""

from __future__ import annotations

from config.errors import MedallionError


class SeriesError(MedallionError):
    """A series cannot be asked for as it was asked for."""


class StoreError(MedallionError):
    """ClickHouse does not answer, or refuses a statement."""


class IncompleteError(MedallionError):
    """A run did not get all that it asked for; the message names what."""
