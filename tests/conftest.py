"""Fixtures of the whole suite: where the recorded data is; how hypothesis draws its examples."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest

# No test is timed: a busy machine is not a failure. `make test` draws the same few examples every time, `make nightly`
# new and more ones (`--hypothesis-profile nightly`). A test that needs more or fewer takes a multiple or a part.
hypothesis.settings.register_profile("nightly", max_examples=100, deadline=None, print_blob=True)
hypothesis.settings.register_profile("same every time", max_examples=40, deadline=None, derandomize=True)
hypothesis.settings.load_profile("same every time")

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def recordings() -> Path:
    """The recordings of this repository (see tests/recordings/README.md)."""
    return ROOT / "tests" / "recordings"
