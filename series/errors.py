"""Errors of the series. Every message says what to do next."""

from __future__ import annotations

from config.errors import MedallionError


class SeriesError(MedallionError):
    """A request for a series names something that does not exist or cannot be used."""


class StoreError(MedallionError):
    """ClickHouse does not answer, or refuses a statement."""


class IncompleteError(MedallionError):
    """A run did not get everything that it asked for; the message names what is missing."""
