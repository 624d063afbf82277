"""Fixtures of the whole suite: where the recorded data is."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

# No test is timed: a busy machine is not a failure.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The recordings of this repository (see tests/recordings/README.md)."""
    return ROOT / "tests" / "recordings"
